"""Requests served each second, in the steady window."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from whichbits.schema.metrics import ServingMetric
from whichbits.serving.metric import LevelMetric
from whichbits.serving.observation import Observation
from whichbits.serving.steady import Steady


class RequestsPerSecond(LevelMetric):
    """Each request counts with the share of its time that falls into the window."""

    described: ClassVar[ServingMetric] = ServingMetric(
        key="requests_per_second",
        title="Requests per second",
        unit="1/s",
        better="higher",
        per="level",
        throughput=True,
        always=True,
    )

    def of(self, seen: Sequence[Observation], window: Steady | None) -> float | None:
        """The rate; None without a steady window."""
        return window.requests_per_second if window else None
