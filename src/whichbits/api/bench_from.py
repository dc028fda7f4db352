"""`whichbits bench --from`: the speeds of a candidate and the base from what another tool measured."""

from __future__ import annotations

import shlex
from pathlib import Path

from whichbits.api.evaluate_from import STORE, ImportedOutcome
from whichbits.studies.store.store import Store


def bench_from(
    base: Path, candidate: Path, *, hardware: str | None = None, count: int = 1, store: Path | None = None
) -> ImportedOutcome:
    """Compare speeds from results of vLLM's `bench serve`, GuideLLM, AIPerf or inference-perf of a candidate and of the base.

    Nothing is run. Either is a file or a folder of them; a load that was measured several times is as many rounds. Every metric
    is computed of single requests by docs/serving.md, whatever the tool calls by its name. `hardware` is a device of the
    catalogue, of which `count` served: it gives the price.

    The requests are kept in `store` (default: studies/imported) as steps of a study; where it has scores of the same two from
    `evaluate_from`, the verdict is on both. Raises UserError where results cannot be read, and where tool, load, lengths,
    engine or hardware differ.
    """
    from whichbits.studies.conclusion import priced_deployment
    from whichbits.studies.imported.speeds import judge_imported_speeds

    place = Store(Path(store) if store is not None else STORE)
    deployment = None if hardware is None else priced_deployment(hardware, count, None, "default", {})
    given = [("--from", base), ("--from", candidate), ("--hardware", hardware), ("--count", count if count > 1 else None)]
    given += [("--store", store)]
    words = [str(word) for option in given if option[1] is not None for word in option]
    verdict = judge_imported_speeds(
        Path(base), Path(candidate), place, command=shlex.join(["whichbits", "bench", *words]), deployment=deployment
    )
    return ImportedOutcome(verdict, place.folder / "report.html", place.folder)
