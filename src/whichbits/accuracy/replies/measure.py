"""What a measure of replies is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from whichbits.schema.metrics import Measure


@dataclass(frozen=True)
class Reply:
    """A whole reply as the engine gave it: what was thought, and the answer."""

    text: str
    tokens: int
    """As the engine counted them."""
    finish_reason: str
    """`stop`, or `length` where it was cut at the largest number of tokens."""


class ReplyMeasure(ABC):
    """A measure of one reply; its value for an item is the mean over the item's replies."""

    described: ClassVar[Measure]
    """What verdict and report show of it. Its column in `items.parquet` is its key; shares (from 0 to 1) have the unit %."""

    @abstractmethod
    def of(self, reply: Reply) -> float | None:
        """The reply's value; None where it has none."""
