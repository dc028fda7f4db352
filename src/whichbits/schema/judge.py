"""What `judge` steps take and return."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic

from pydantic import field_serializer

from whichbits.schema.evaluate import Judged, TaskT, task_in_key
from whichbits.schema.inputs import Inputs, Local
from whichbits.schema.summary import Summary


class JudgeInputs(Inputs, Generic[TaskT]):
    """The task with its judge; the answers are those of the evaluations that are read."""

    task: TaskT
    """As in `EvaluateInputs`."""
    seed: int

    @field_serializer("task")
    def _in_the_key(self, task: TaskT) -> dict[str, Any]:
        return task_in_key(task)


class JudgeLocal(Local, Generic[TaskT]):
    """The task with its source's path, and where its questions are."""

    task: TaskT
    data_dir: Path | None = None
    tokenizer: Path
    """Of the base: the lengths of answers are counted by it."""


@dataclass(frozen=True)
class ComparedItem:
    """A row of `items.parquet`: a question that both have answered."""

    item: str
    score: float
    """Mean win probability of the candidate against the base, from 0 to 1; ½ is equal."""
    identical: bool
    """Whether both answers are the same to the letter, which is a tie that no judge is asked about."""


class JudgeSummary(Summary, kind="judge"):
    """A candidate's answers to a task, judged against the base's."""

    task: str
    n: int
    """Items."""
    score: float
    """Mean over items, from 0 to 1; ½ is equal."""
    judged: Judged
