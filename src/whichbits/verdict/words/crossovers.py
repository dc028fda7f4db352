"""Loads at which another candidate becomes the faster one, in words."""

from __future__ import annotations

from collections.abc import Iterator

from whichbits.verdict.phases import Axis, Crossover
from whichbits.verdict.verdict import Verdict
from whichbits.verdict.words.numbers import load_interval

UNITS: dict[Axis, str] = {"concurrency": "requests in flight", "rate": "requests per second"}


def crossover(found: Crossover) -> str:
    """Who answers sooner below the load, and who above."""
    return f"{found.below} answers sooner below {load_interval(found.load)} {UNITS[found.axis]}, {found.above} above"


def recommended_crossovers(verdict: Verdict) -> Iterator[Crossover]:
    """Those between two candidates that are both recommended for the workload, which say from which load on each is."""
    for found in verdict.crossovers:
        place = (found.workload, found.deployment)
        chosen = {entry.candidate for entry in verdict.recommendations if (entry.workload, entry.deployment) == place}
        if {found.below, found.above} <= chosen:
            yield found
