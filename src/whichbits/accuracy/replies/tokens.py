"""Tokens a reply."""

from __future__ import annotations

from typing import ClassVar

from whichbits.accuracy.replies.measure import Reply, ReplyMeasure
from whichbits.schema.metrics import Measure


class Tokens(ReplyMeasure):
    """What the engine generated for a reply, in thought and answer together."""

    described: ClassVar[Measure] = Measure(key="tokens", title="Tokens a reply", better="neither")

    def of(self, reply: Reply) -> float:
        """Number of tokens."""
        return float(reply.tokens)
