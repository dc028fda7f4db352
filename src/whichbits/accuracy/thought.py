"""Thinking text split from the answer that follows it."""

from __future__ import annotations

THOUGHT = (("<think>", "</think>"), ("[unused16]", "[unused17]"))
"""How thinking models mark what they think; the second pair is openPangu's."""


def after_thought(reply: str) -> str | None:
    """The reply after what was thought; None where the thought does not end."""
    for begin, end in THOUGHT:
        before, mark, rest = reply.rpartition(end)
        if mark:
            return rest
        if begin in before + rest:
            return None
    return reply
