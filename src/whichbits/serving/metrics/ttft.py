"""Time to first token."""

from __future__ import annotations

from typing import ClassVar

from whichbits.schema.metrics import ServingMetric
from whichbits.serving.metric import RequestMetric
from whichbits.serving.observation import Observation


class TimeToFirstToken(RequestMetric):
    """First chunk with tokens - start."""

    described: ClassVar[ServingMetric] = ServingMetric(
        key="ttft_s",
        title="Time to first token (TTFT)",
        unit="s",
        better="lower",
        per="request",
        percentiles=(50.0, 95.0, 99.0),
        always=True,
    )

    def of(self, seen: Observation) -> float | None:
        """Seconds."""
        return None if seen.first_token_s is None else seen.first_token_s - seen.start_s
