"""Inter-token latency: the gaps between the chunks of a stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from whichbits.schema.metrics import ServingMetric
from whichbits.serving.metric import RequestMetric
from whichbits.serving.observation import Observation


class InterTokenLatency(RequestMetric):
    """Of a load level over all gaps of all requests; of a request its mean gap, (last chunk - first chunk) / (chunks - 1).

    A verdict gives no percentile: the gaps behind one are not in the items, only their means.
    """

    described: ClassVar[ServingMetric] = ServingMetric(
        key="itl_s",
        title="Inter-token latency (ITL)",
        unit="s",
        better="lower",
        per="request",
    )

    def of(self, seen: Observation) -> float | None:
        """Seconds, the mean gap."""
        return seen.decode_s / (seen.chunks - 1) if seen.decode_s is not None and seen.chunks > 1 else None

    def sample(self, seen: Sequence[Observation]) -> list[float]:
        """Every gap, seconds."""
        return [gap for one in seen for gap in one.gaps_s]
