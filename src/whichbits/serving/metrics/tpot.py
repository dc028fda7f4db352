"""Time per output token, after the first."""

from __future__ import annotations

from typing import ClassVar

from whichbits.schema.metrics import ServingMetric
from whichbits.serving.metric import RequestMetric
from whichbits.serving.observation import Observation


class TimePerOutputToken(RequestMetric):
    """(last chunk - first chunk) / (output tokens - 1); none of a request of one token."""

    described: ClassVar[ServingMetric] = ServingMetric(
        key="tpot_s",
        title="Time per output token (TPOT)",
        unit="s",
        better="lower",
        per="request",
        percentiles=(50.0, 95.0, 99.0),
        brief=False,
    )

    def of(self, seen: Observation) -> float | None:
        """Seconds."""
        return seen.decode_s / (seen.output_tokens - 1) if seen.decode_s is not None and seen.output_tokens > 1 else None
