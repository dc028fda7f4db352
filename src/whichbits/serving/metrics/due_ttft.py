"""Time to first token from the moment at which the request was due."""

from __future__ import annotations

from typing import ClassVar

from whichbits.schema.metrics import ServingMetric
from whichbits.serving.metric import RequestMetric
from whichbits.serving.observation import Observation


class TimeToFirstTokenFromDue(RequestMetric):
    """First chunk with tokens - due."""

    described: ClassVar[ServingMetric] = ServingMetric(
        key="due_ttft_s",
        title="Time to first token from due",
        unit="s",
        better="lower",
        per="request",
        percentiles=(50.0, 95.0, 99.0),
        brief=False,
    )

    def of(self, seen: Observation) -> float | None:
        """Seconds."""
        return None if seen.first_token_s is None else seen.first_token_s - seen.target_s
