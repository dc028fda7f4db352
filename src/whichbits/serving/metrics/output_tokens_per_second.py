"""Output tokens each second, of all requests together, in the steady window."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from whichbits.schema.metrics import ServingMetric
from whichbits.serving.metric import LevelMetric
from whichbits.serving.observation import Observation
from whichbits.serving.steady import Steady


class OutputTokensPerSecond(LevelMetric):
    """Tokens of each request count with the share of its time that falls into the window."""

    described: ClassVar[ServingMetric] = ServingMetric(
        key="output_tokens_per_second",
        title="Output tokens per second",
        unit="1/s",
        better="higher",
        per="level",
        throughput=True,
        always=True,
    )

    def of(self, seen: Sequence[Observation], window: Steady | None) -> float | None:
        """The rate; None without a steady window."""
        return window.output_tokens_per_second if window else None
