"""Request latency from the moment at which the request was due."""

from __future__ import annotations

from typing import ClassVar

from whichbits.schema.metrics import ServingMetric
from whichbits.serving.metric import RequestMetric
from whichbits.serving.observation import Observation


class LatencyFromDue(RequestMetric):
    """End of the stream - due: what a user waits, also where the client could not send in time (coordinated omission)."""

    described: ClassVar[ServingMetric] = ServingMetric(
        key="due_latency_s",
        title="Request latency from due",
        unit="s",
        better="lower",
        per="request",
        percentiles=(50.0, 95.0, 99.0),
        brief=False,
    )

    def of(self, seen: Observation) -> float | None:
        """Seconds."""
        return seen.end_s - seen.target_s
