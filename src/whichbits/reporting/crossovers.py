"""Loads at which another candidate becomes the faster one, for the page."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from whichbits.reporting.citations import Citations
from whichbits.verdict.verdict import Verdict
from whichbits.verdict.words.crossovers import UNITS
from whichbits.verdict.words.numbers import load_interval


@dataclass(frozen=True)
class CrossoverRow:
    """Of two candidates on one workload."""

    workload: str
    below: str
    load: str
    above: str
    rounds: int
    cites: Markup


def crossover_rows(verdict: Verdict, citations: Citations) -> list[CrossoverRow]:
    """A row for each finding, in their order."""
    several = len({found.deployment for found in verdict.crossovers}) > 1
    return [
        CrossoverRow(
            f"{found.workload} on {found.deployment}" if several else found.workload,
            found.below,
            f"{load_interval(found.load)} {UNITS[found.axis]}",
            found.above,
            found.rounds,
            citations.cite(found.steps),
        )
        for found in verdict.crossovers
    ]
