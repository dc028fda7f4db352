"""`whichbits evaluate --from`: the decision on a candidate from what another tool wrote of it and of the base."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from whichbits.api.arguments import check_margin
from whichbits.studies.store.store import Store

if TYPE_CHECKING:
    from whichbits.verdict.verdict import Verdict

STORE = Path("studies") / "imported"
"""Where imported scores are kept by default."""


@dataclass(frozen=True)
class ImportedOutcome:
    """What imported results came to."""

    verdict: Verdict
    report: Path
    store: Path


def evaluate_from(
    base: Path,
    candidate: Path,
    *,
    task: Sequence[str] | None = None,
    metric: str | None = None,
    margin: float = 0.01,
    store: Path | None = None,
) -> ImportedOutcome:
    """Decide on a candidate from results of lm-evaluation-harness, EvalPlus, LightEval or Inspect of it and of the base.

    Nothing is run. `task` names the tasks that are compared (default: all), `metric` their metric (default: each task's usual
    one), `margin` the largest loss of score above chance that counts as none. The scores are kept in `store` (default:
    studies/imported), as steps of a study. Raises UserError where results cannot be read, and where the two were not asked the
    same: prompts, versions, examples, filters or metrics differ.
    """
    from whichbits.studies.imported.accuracy import judge_imported

    check_margin(margin)
    place = Store(Path(store) if store is not None else STORE)
    given = [("--from", base), ("--from", candidate), *(("--task", name) for name in task or ()), ("--metric", metric)]
    given += [("--margin", f"{margin:g}"), ("--store", store)]
    words = [str(word) for option in given if option[1] is not None for word in option]
    verdict = judge_imported(
        Path(base), Path(candidate), place, tasks=task or (), metric=metric, margin=margin,
        command=shlex.join(["whichbits", "evaluate", *words]),
    )  # fmt: skip
    return ImportedOutcome(verdict, place.folder / "report.html", place.folder)
