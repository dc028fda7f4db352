"""How answers are drawn, and how they become one score."""

from __future__ import annotations

from pydantic import Field

from whichbits.schema.frozen import Written


class Sampling(Written):
    """Greedy and one answer an item, unless stated otherwise."""

    temperature: float = Field(default=0.0, ge=0, le=10, allow_inf_nan=False)
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Share of the probability that the likeliest tokens must have together; the others are not drawn."""
    samples: int = Field(default=1, ge=1, le=10_000)
    """Answers an item."""
    reducer: str = "mean"
    """`mean`, `pass@K`, or `majority`: how an item's answers become its score."""
