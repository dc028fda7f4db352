"""Outputs that end by themselves: how long they are beside the base's, for the page."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from whichbits.reporting.citations import Citations
from whichbits.reporting.numbers import percent, significant, times
from whichbits.verdict.verdict import Verdict
from whichbits.verdict.words.recommendations import speed_reason


@dataclass(frozen=True)
class NaturalRow:
    """One candidate's."""

    workload: str
    candidate: str
    prompts: int
    tokens: str
    """Of an answer, and of the base's."""
    ratio: str
    truncated: str
    speed: str
    valid: bool
    reasons: tuple[str, ...]
    cites: Markup


def natural_rows(verdict: Verdict, citations: Citations) -> list[NaturalRow]:
    """A row for each candidate and workload."""
    return [
        NaturalRow(
            f"{one.workload}, {one.concurrency} in flight",
            one.candidate,
            one.prompts,
            f"{significant(one.tokens)} ({verdict.base}: {significant(one.base_tokens)})",
            times(one.length_ratio),
            f"{percent(one.truncated)} ({percent(one.base_truncated)})",
            times(one.speed) if one.speed is not None and one.valid else "",
            one.valid,
            tuple(map(speed_reason, one.reasons)),
            citations.cite(one.steps),
        )
        for one in verdict.natural
    ]
