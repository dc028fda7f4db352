"""A question as it was asked and scored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Item:
    """One scored item; two runs are paired on `item`, and must agree on `prompt_hash` and `target_hash`."""

    item: str
    prompt_hash: str
    target_hash: str
    cluster: str
    """Items of one cluster are not independent of each other (questions about one passage)."""
    score: float
    """From 0 (wrong) to 1 (right)."""
    prediction: str
    target: str
    chance: float = 0.0
    """Expected score of guessing on this item."""
    vote: str | None = None
    """What the answer says, in a form in which equal answers are equal texts; None: the prediction."""
    sample_scores: tuple[float, ...] = ()
    """Scores of the item's answers, where there are several; `score` is then what the reducer makes of them."""
    sample_predictions: tuple[str, ...] = ()
    replies: Mapping[str, float | None] = field(default_factory=dict)
    """In a mode of thinking: what its replies are like, by key of the measure; the mean over several replies."""
