"""The highest rates at which a workload's limits hold, for the page and the terminal."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from whichbits.reporting.citations import Citations
from whichbits.reporting.numbers import interval, significant, times
from whichbits.verdict.estimates import Estimate
from whichbits.verdict.verdict import CapacityFinding, Reaches, Verdict

REACHES: dict[Reaches, str] = {"yes": "reached", "no": "not reached", "open": "open"}


@dataclass(frozen=True)
class CapacityRow:
    """One candidate's."""

    place: str
    """Workload, with its deployment where there are several."""
    candidate: str
    rate: str
    ratio: str
    reaches: str
    """Whether it reaches the target rate, where there is one."""
    runs: int
    steps: tuple[str, ...]


def capacity_rows(verdict: Verdict) -> list[CapacityRow]:
    """A row for each finding, in their order."""
    several = len({found.deployment for found in verdict.capacity}) > 1
    return [
        CapacityRow(
            f"{found.workload} on {found.deployment}" if several else found.workload,
            found.candidate,
            _rate(found),
            times(found.over_base) if found.over_base is not None else "",
            REACHES[found.reaches] if found.reaches is not None else "",
            found.runs,
            found.steps,
        )
        for found in verdict.capacity
    ]


def _rate(found: CapacityFinding) -> str:
    """Requests per second with their interval; one without an end is said in words."""
    if found.high is None:
        return f"more than {significant(found.low)}/s"
    if found.low == 0:
        return f"less than {significant(found.high)}/s"
    return interval(Estimate(value=found.rate, low=found.low, high=found.high), "/s").replace(" /s", "/s")


def cited(rows: list[CapacityRow], citations: Citations) -> list[tuple[CapacityRow, Markup]]:
    """Rows with their steps as links."""
    return [(row, citations.cite(row.steps)) for row in rows]
