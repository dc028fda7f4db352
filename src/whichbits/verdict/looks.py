"""Repeated looks at speeds: rounds are added where a comparison is open, and intervals are widened to keep the error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from whichbits.verdict.estimates import Estimate, Mode
from whichbits.verdict.verdict import CostFinding, Verdict


@dataclass(frozen=True)
class OpenSpeed:
    """What of one workload and mode is not decided: the candidates, and the loads (requests in flight) that it depends on."""

    workload: str
    mode: Mode
    candidates: tuple[str, ...]
    in_flight: tuple[int, ...]


def level_of_looks(level: float, looks: Sequence[int]) -> float:
    """Confidence of each interval so that those of all `looks` (rounds at each) hold together with confidence `level`.

    The error is shared equally (Bonferroni). That holds whatever decides whether there is another look, and of what.
    """
    return 1 - (1 - level) / len(looks) if len(looks) > 1 else level


def open_speeds(verdict: Verdict) -> tuple[OpenSpeed, ...]:
    """Where further rounds may decide something, for each workload and mode; none where all is decided.

    Open is a candidate that may be deployed (non-inferior or inconclusive) and is neither shown faster nor shown slower than
    the base, and each of those among which the fastest is not told. What is decided is measured no further, nor are loads that
    are shown not to be the best of any that is open, nor of the base.
    """
    places: dict[tuple[str, Mode], list[CostFinding]] = {}
    for found in verdict.cost:
        if found.candidate in _contenders(verdict, found.workload, found.mode) or _not_told(verdict, found):
            places.setdefault((found.workload, found.mode), []).append(found)
    return tuple(
        OpenSpeed(
            workload,
            mode,
            tuple(found.candidate for found in here),
            tuple(sorted({load for found in here for load in found.contending})),
        )
        for (workload, mode), here in places.items()
    )


def _not_told(verdict: Verdict, found: CostFinding) -> bool:
    """Whether a candidate that may be deployed is not told from the base."""
    able = {decision.candidate for decision in verdict.formats if decision.state in ("non-inferior", "inconclusive")}
    ratio = found.cost_reduction
    told = isinstance(ratio, Estimate) and not ratio.low <= 1 <= ratio.high
    return found.candidate in able and found.valid and ratio is not None and not told


def _contenders(verdict: Verdict, workload: str, mode: Mode) -> frozenset[str]:
    """The recommended candidate and those that it may not be faster than, where there are some."""
    return frozenset(
        name
        for answer in verdict.recommendations
        if (answer.workload, answer.mode) == (workload, mode) and answer.not_shown_slower
        for name in (answer.candidate, *answer.not_shown_slower)
    )
