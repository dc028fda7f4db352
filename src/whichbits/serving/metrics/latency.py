"""Request latency: how long a whole request takes."""

from __future__ import annotations

from typing import ClassVar

from whichbits.schema.metrics import ServingMetric
from whichbits.serving.metric import RequestMetric
from whichbits.serving.observation import Observation


class Latency(RequestMetric):
    """End of the stream - start."""

    described: ClassVar[ServingMetric] = ServingMetric(
        key="latency_s",
        title="Request latency",
        unit="s",
        better="lower",
        per="request",
        percentiles=(50.0, 95.0, 99.0),
        always=True,
    )

    def of(self, seen: Observation) -> float | None:
        """Seconds."""
        return seen.end_s - seen.start_s
