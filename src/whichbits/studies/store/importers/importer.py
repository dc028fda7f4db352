"""What results of another tool are read as, and the class of what reads them."""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from whichbits.core.errors import UserError
from whichbits.core.foreign import Setting, damaged, stated

ROUNDING = 1e-6
"""How far a mean that a tool wrote may lie from that of its samples; one item of a hundred thousand makes more."""


@dataclass(frozen=True)
class ImportedItem:
    """One scored item."""

    item: str
    prompt: str
    """What the model was asked, as far as the tool writes it; two runs must agree on it."""
    target: str
    score: float
    """From 0 (wrong) to 1 (right)."""
    prediction: str = ""
    chance: float = 0.0
    """Expected score of guessing on this item."""

    @property
    def prompt_hash(self) -> str:
        """SHA-256 of the prompt."""
        return hashlib.sha256(self.prompt.encode()).hexdigest()

    @property
    def target_hash(self) -> str:
        """SHA-256 of the target."""
        return hashlib.sha256(self.target.encode()).hexdigest()


@dataclass(frozen=True)
class ImportedTask:
    """A task with what its scores depend on, and its items."""

    name: str
    metric: str
    settings: tuple[Setting, ...]
    items: tuple[ImportedItem, ...]

    @property
    def chance(self) -> float:
        """Expected score of guessing."""
        return sum(item.chance for item in self.items) / len(self.items)


@dataclass(frozen=True)
class ImportedRun:
    """What a tool wrote of one model."""

    tool: str
    path: Path
    model: str
    engine: str
    """What ran the model, in the tool's words."""
    settings: tuple[Setting, ...]
    """Of all tasks."""
    tasks: tuple[ImportedTask, ...]
    unknown: tuple[str, ...] = ()
    """What the tool does not write, so that it could not be compared."""


class Importer(ABC):
    """Reads the results of one tool. Raises UserError for results that are damaged or lack what a comparison needs."""

    name: ClassVar[str]
    reads: ClassVar[str]
    """The files that it reads, for people."""

    @abstractmethod
    def recognizes(self, path: Path) -> bool:
        """Whether a file or folder is, or holds, results of the tool; it is there."""

    @abstractmethod
    def read(self, path: Path, metric: str | None) -> ImportedRun:
        """The results in a file or folder that it recognizes, by `metric` where it is given, else by the tool's first one."""


def chosen_metric(asked: str | None, there: Sequence[str], preferred: Sequence[str], task: str) -> str:
    """The metric that is asked for, or the first preferred one that is there, or the first of all. Raises UserError."""
    if asked is not None and asked not in there:
        raise UserError(f"metric: {task} has no metric {asked!r:.80}", remedy=f"choose from {', '.join(there)}")
    if not there:
        raise UserError(f"metric: {task} has no score of an item", remedy="leave the task out: name others with --task")
    return asked or next((metric for metric in preferred if metric in there), there[0])


def unit_score(value: Any, *, item: str, task: str, metric: str) -> float:
    """A score from 0 to 1. Raises UserError for what is none."""
    if isinstance(value, bool | int | float) and 0 <= value <= 1:
        return float(value)
    raise UserError(
        f"metric: {metric} of {task} gives {value!r:.80} on item {item}, and not a number from 0 to 1",
        remedy="name a metric that scores each item from 0 to 1 with --metric, or other tasks with --task",
    )


def refuse_other_count(where: object, task: str, read: int, told: object) -> None:
    """Raise UserError where a tool tells of another number of samples of a task than there are; None tells of none."""
    if told is not None and read != told:
        raise damaged(where, f"tells of {stated(told):.40} samples of {task}, and {read} are there")


def refuse_other_mean(where: object, task: str, items: Sequence[ImportedItem], told: object) -> None:
    """Raise UserError where the score that a tool tells of a task is not the mean of its items; no number tells of none."""
    mean = sum(item.score for item in items) / len(items)
    if isinstance(told, int | float) and not math.isclose(mean, told, abs_tol=ROUNDING):
        raise damaged(where, f"tells of a score of {stated(told):.40} of {task}, and its samples have {mean:.6g}")


def numbered(names: Iterable[str]) -> Iterator[str]:
    """Names, with a number behind those that occurred before."""
    times: dict[str, int] = {}
    for name in names:
        times[name] = times.get(name, 0) + 1
        yield name if times[name] == 1 else f"{name} ({times[name]})"
