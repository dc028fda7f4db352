"""`whichbits evaluate`: the scores of one checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whichbits.api.arguments import part_of_a_study, served_at
from whichbits.api.weights import ServedWeights, weights_of
from whichbits.core.errors import UserError
from whichbits.schema.evaluate import EvaluateSummary
from whichbits.studies.specification.judge import JudgeChoice
from whichbits.studies.specification.schema import task_entry
from whichbits.studies.steps.shared.judge import names_judged
from whichbits.studies.study import run_part


@dataclass(frozen=True)
class TaskScore:
    """The score of a checkpoint on a task."""

    task: str
    metric: str
    n: int
    """Items."""
    score: float
    stderr: float | None
    """Standard error over items, or over clusters of them."""
    chance: float | None
    """Expected score of guessing."""
    weights: ServedWeights | None
    """None unless a server at an address was asked."""


def evaluate(
    model: str,
    task: Sequence[str],
    *,
    emulated: bool = False,
    url: str | None = None,
    served_model_name: str | None = None,
    limit: int | None = None,
    store: Path | None = None,
    data_dir: Path | None = None,
    seed: int = 0,
    judge: JudgeChoice | None = None,
) -> tuple[TaskScore, ...]:
    """Score one checkpoint on tasks (names, `lm_eval:NAME`, or JSONL files): a study without candidates. Raises UserError.

    `url` is where a server serves the checkpoint already, and `served_model_name` the name it does so under, where it lists
    several. `judge` is who judges open answers, of the tasks that have them judged.
    """
    if emulated and url is not None:
        raise UserError("url: a checkpoint is emulated here, not at an address", remedy="leave out --emulated, or --url")
    choices = [_choice(name, limit, judge) for name in task]
    if judge is not None and not any("judge" in choice for choice in choices):
        raise UserError("judge: the answers of none of these tasks are judged", remedy="leave out --judge")
    if judge is not None and judge.against_base:
        raise UserError(
            "judge: against_base compares candidates with the base, and there is one checkpoint",
            remedy="leave against_base out, or run `whichbits study` with --judge",
        )
    engine = served_at({"base": (url, served_model_name)})
    part = part_of_a_study("evaluate", model, tasks=choices, base_repeats=1, engine=engine, seed=seed)
    return tuple(
        TaskScore(
            task=found.task,
            metric=found.metric,
            n=found.n,
            score=found.score,
            stderr=found.stderr,
            chance=found.chance,
            weights=weights_of(record),
        )
        for record in run_part(part, store, {"evaluate"}, emulated=emulated, data_dir=data_dir)
        for found in (record.found(EvaluateSummary),)
    )


def _choice(name: str, limit: int | None, judge: JudgeChoice | None) -> dict[str, Any]:
    """A task's entry in a specification."""
    if name.endswith(".jsonl"):
        return {"name": Path(name).stem, "jsonl": name, "limit": limit}
    entry = {**task_entry(name), "limit": limit}
    return {**entry, "judge": judge} if judge is not None and "name" in entry and names_judged(name) else entry
