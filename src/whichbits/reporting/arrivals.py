"""Loads whose requests arrive whatever the server does, for the page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup

from whichbits.reporting.citations import Citations
from whichbits.reporting.numbers import times
from whichbits.verdict.verdict import Verdict

LIMITS: dict[Literal["kept", "missed", "open"], str] = {"kept": "kept", "missed": "not kept", "open": "open"}


@dataclass(frozen=True)
class ArrivalsRow:
    """Of one candidate at one load."""

    workload: str
    load: str
    candidate: str
    latency: str
    """Over the base's."""
    limits: str
    """Whether they are kept, where there are some."""
    valid: bool
    cites: Markup


def arrivals_rows(verdict: Verdict, citations: Citations) -> list[ArrivalsRow]:
    """A row for each finding, the candidates of a load together."""
    several = len({found.deployment for found in verdict.arrivals}) > 1
    places = list(dict.fromkeys((found.workload, found.deployment, found.load_level) for found in verdict.arrivals))
    ordered = sorted(verdict.arrivals, key=lambda found: places.index((found.workload, found.deployment, found.load_level)))
    return [
        ArrivalsRow(
            f"{found.workload} on {found.deployment}" if several else found.workload,
            found.load_level,
            found.candidate,
            times(found.latency) if found.latency is not None else "",
            LIMITS[found.limits] if found.limits is not None else "",
            found.valid,
            citations.cite(found.steps),
        )
        for found in ordered
    ]
