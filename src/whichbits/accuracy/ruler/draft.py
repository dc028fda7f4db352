"""A RULER item before its haystack is filled up to the wanted length."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Draft:
    """A question that can be asked with any amount of text around it."""

    write: Callable[[int], str]
    """The request with so many units of filler: the more, the longer."""
    begun: str
    """How the answer begins; it is part of the prompt."""
    answers: tuple[str, ...]
    """What the reply has to name."""
    least: int
    """Fewest units."""
    most: int
    """Most units that there are."""
    cluster: str | None = None
    """What it shares with other items, where it does."""
