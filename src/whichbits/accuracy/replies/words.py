"""Words a reply."""

from __future__ import annotations

from typing import ClassVar

from whichbits.accuracy.replies.measure import Reply, ReplyMeasure
from whichbits.schema.metrics import Measure


class Words(ReplyMeasure):
    """What white space separates, in thought and answer together; a language that writes without spaces has few."""

    described: ClassVar[Measure] = Measure(key="words", title="Words a reply", better="neither")

    def of(self, reply: Reply) -> float:
        """Number of words."""
        return float(len(reply.text.split()))
