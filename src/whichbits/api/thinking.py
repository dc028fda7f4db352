"""`whichbits thinking`: what formats do to a model in each of its thinking modes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from whichbits.api.arguments import part_of_a_study
from whichbits.api.study import Outcome, study
from whichbits.studies.specification.schema import task_entry

if TYPE_CHECKING:
    from rich.console import Console

FORMATS = ("w8a8-int", "w4a8-int")
"""Those of the openPangu study (arXiv 2512.23367)."""
TASKS = ("humaneval_chat", "mbpp_chat")


def thinking(
    model: str,
    *,
    format: Sequence[str] | None = None,
    recipe: str | None = None,
    mode: Sequence[str] | None = None,
    task: Sequence[str] | None = None,
    max_tokens: int | None = None,
    limit: int | None = None,
    emulated: bool = False,
    store: Path | None = None,
    data_dir: Path | None = None,
    seed: int = 0,
    trust_remote_code: bool = False,
    quiet: bool = False,
    console: Console | None = None,
) -> Outcome:
    """Score, recovery, lengths, truncated and repetitive replies of a model and its formats, task by task, in each mode.

    A study of `format`s (default: `FORMATS`) on `task`s (`TASKS`) in the `mode`s of the family (all of them). The formats
    are made here, by the `recipe` of that name or file, or by effort `balanced`. `max_tokens` is the longest reply in every
    mode, where not the task's own. Everything runs in transformers where it is `emulated`. Raises UserError for a mode that the
    model has not, and what `study` raises.
    """
    longest = {} if max_tokens is None else {"max_tokens": max_tokens}
    made = {**({} if recipe is None else {"recipe": recipe}), **({"run": "emulated"} if emulated else {})}
    specification = part_of_a_study(
        "thinking",
        model,
        candidates=[{"format": name, **made} for name in format or FORMATS],
        tasks=[{**task_entry(name), "limit": limit} for name in task or TASKS],
        modes=[{"name": name, **longest} for name in mode or ("all",)],
        seed=seed,
        trust_remote_code=trust_remote_code,
    )
    return study(specification, store=store, data_dir=data_dir, quiet=quiet, console=console)
