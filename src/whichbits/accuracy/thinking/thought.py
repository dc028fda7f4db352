"""Thinking text split from the answer that follows it."""

from __future__ import annotations

from collections.abc import Sequence

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


def begun_thought(prompt: str) -> str:
    """The mark with which a prompt ends that has begun the model's thought already; empty where it has not."""
    return next((begin for begin, _ in THOUGHT if prompt.rstrip().endswith(begin)), "")


def answer_of(reply: str, stops: Sequence[str]) -> str:
    """The answer of a reply, before the first stop string in it; empty where the thought before it does not end."""
    answer = after_thought(reply) or ""
    return answer[: min((place for stop in stops if (place := answer.find(stop)) >= 0), default=len(answer))]


def cut_answer(reply: str, stops: Sequence[str]) -> str:
    """The reply up to the first stop string in its answer; stop strings in the thought end nothing."""
    answer = after_thought(reply)
    return reply if answer is None else reply[: len(reply) - len(answer)] + answer_of(reply, stops)
