"""What a reducer is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Answer:
    """One of the answers to an item."""

    score: float
    """From 0 (wrong) to 1 (right)."""
    vote: str
    """What the answer says, in a form in which equal answers are equal texts."""


class Reducer(Protocol):
    """Makes one score, from 0 to 1, of an item's answers."""

    @property
    def least_samples(self) -> int:
        """How many answers an item needs."""
        ...

    def __call__(self, answers: Sequence[Answer]) -> float:
        """The item's score. Raises UserError where the answers' scores do not fit."""
        ...
