"""What every figure of a verdict is made of: a value with its interval, and where it comes from."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Provenance = Literal["measured", "emulated", "predicted", "published"]
Mode = Literal["synchronous", "asynchronous"]
SYNCHRONOUS = "synchronous"
"""The load of one request at a time."""
POWER = 0.8
"""Power at which sample sizes and smallest detectable differences are planned."""


class Frozen(BaseModel):
    """Immutable, and strict about its fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Estimate(Frozen):
    """A value with its confidence interval."""

    value: float
    low: float
    high: float
    level: float = 0.95

    def scaled(self, factor: float) -> Estimate:
        """The same in another unit: value and interval times `factor`, which is above 0."""
        value, low, high = (factor * x for x in (self.value, self.low, self.high))
        return Estimate(value=value, low=low, high=high, level=self.level)


class SingleRound(Frozen):
    """A speed, or a ratio of speeds, of one round: nothing says how much another round would differ, so it has no interval."""

    value: float = Field(allow_inf_nan=False)

    def scaled(self, factor: float) -> SingleRound:
        """The same in another unit."""
        return SingleRound(value=factor * self.value)


Timed = Estimate | SingleRound
"""What rounds of measurement say: with an interval where there are two or more."""
