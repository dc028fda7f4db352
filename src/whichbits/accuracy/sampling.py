"""How answers are drawn: temperature, top-p, how many an item, from which seeds, and how they become one score."""

from __future__ import annotations

import hashlib

from pydantic import BaseModel, ConfigDict, Field

from whichbits.accuracy.reducers.registry import reducer
from whichbits.core.errors import UserError


class Sampling(BaseModel):
    """Greedy and one answer an item, unless stated otherwise."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: float = Field(default=0.0, ge=0, le=10, allow_inf_nan=False)
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Share of the probability that the likeliest tokens must have together; the others are not drawn."""
    samples: int = Field(default=1, ge=1, le=10_000)
    """Answers an item."""
    reducer: str = "mean"
    """`mean`, `pass@K`, or `majority`: how an item's answers become its score."""

    def check(self) -> None:
        """Raise UserError for samples that would all be the same, and for a reducer that is none or needs more samples."""
        if self.samples > 1 and self.temperature == 0:
            raise UserError(
                f"samples: {self.samples} greedy answers to an item are {self.samples} times the same",
                remedy="set temperature, for example 0.6, or samples to 1",
            )
        needed = reducer(self.reducer).least_samples
        if needed > self.samples:
            raise UserError(
                f"reducer: {self.reducer} needs {needed} answers an item, and there are {self.samples}",
                remedy=f"set samples to {needed} or more, or choose the reducer mean",
            )


def sample_seed(seed: int, prompt_hash: str, sample: int) -> int:
    """Seed of one answer, 31 bits: the same for base and candidate, and another for each item and each of its answers.

    The first 4 bytes of SHA-256 over `seed/prompt_hash/sample`, without the highest bit.
    """
    digest = hashlib.sha256(f"{seed}/{prompt_hash}/{sample}".encode()).digest()
    return int.from_bytes(digest[:4], "big") & 0x7FFFFFFF
