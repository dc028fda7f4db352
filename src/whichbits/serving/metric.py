"""What a metric of serving is: of one request, or of a load level as a whole."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from whichbits.schema.metrics import ServingMetric
from whichbits.serving.observation import Observation
from whichbits.serving.steady import Steady


class Metric(ABC):
    """A metric, one class each; `described` is what verdict and report show of it."""

    described: ClassVar[ServingMetric]


class RequestMetric(Metric):
    """A metric of each request that was answered; its column of the items has the metric's key."""

    @abstractmethod
    def of(self, seen: Observation) -> float | None:
        """Its value in one request; None where it has none."""

    def sample(self, seen: Sequence[Observation]) -> list[float]:
        """What mean and percentiles of a load level are of: by default the values of its requests."""
        values = [self.of(one) for one in seen]
        return [value for value in values if value is not None]


class LevelMetric(Metric):
    """A metric of a load level."""

    @abstractmethod
    def of(self, seen: Sequence[Observation], window: Steady | None) -> float | None:
        """Its value; None where it has none.

        `seen` are the requests that were answered, warm-up left out. `window` is the time in which the load is the one asked
        for, with the rates in it; None where there is none.
        """
