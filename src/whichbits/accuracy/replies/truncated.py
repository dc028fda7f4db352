"""Whether a reply was cut."""

from __future__ import annotations

from typing import ClassVar

from whichbits.accuracy.replies.measure import Reply, ReplyMeasure
from whichbits.schema.metrics import Measure


class Truncated(ReplyMeasure):
    """A reply that did not end by itself, but at the task's largest number of tokens."""

    described: ClassVar[Measure] = Measure(key="truncated", title="Truncated replies", unit="%", better="lower")

    def of(self, reply: Reply) -> float:
        """1 where it was cut, else 0."""
        return float(reply.finish_reason == "length")
