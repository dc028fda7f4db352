"""A question as it was asked and scored."""

from __future__ import annotations

from dataclasses import dataclass

from whichbits.schema.evaluate import RepliedItem


@dataclass(frozen=True)
class Item(RepliedItem):
    """One scored item, with what its row in `items.parquet` does not say.

    Where it has several answers, `score` is what the reducer makes of them.
    """

    chance: float = 0.0
    """Expected score of guessing on this item."""
    vote: str | None = None
    """What the answer says, in a form in which equal answers are equal texts; None: the prediction."""
