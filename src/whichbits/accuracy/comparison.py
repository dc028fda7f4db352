"""Two models' answers to the same items, and what a judge says of them."""

from __future__ import annotations

from dataclasses import dataclass

from whichbits.schema.evaluate import Judged
from whichbits.schema.judge import ComparedItem


@dataclass(frozen=True)
class AnsweredTwice:
    """Both models' answers to an item, as many each, compared in their order."""

    item: str
    answers: tuple[str, ...]
    others: tuple[str, ...]
    """Of the model that it is compared with."""


@dataclass(frozen=True)
class Comparison:
    """One model's answers against another's."""

    items: tuple[ComparedItem, ...]
    judged: Judged
