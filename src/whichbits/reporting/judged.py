"""Judged answers: win rates against a task's baseline and against the base, and the judge's own disagreement."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from whichbits.reporting.citations import Citations
from whichbits.reporting.numbers import interval, percent
from whichbits.reporting.panels import by
from whichbits.verdict.estimates import Estimate
from whichbits.verdict.judged_finding import JudgedFinding
from whichbits.verdict.verdict import Verdict

EQUAL = 0.5
"""The win rate of equals."""


@dataclass(frozen=True)
class JudgedRow:
    """One model's answers, against the baseline's or the base's."""

    candidate: str
    against: str
    engine: str
    emulated: bool
    items: str
    win_rate: str
    differs: bool
    """Whether the interval against the base excludes ½."""
    at_equal_style: str
    swayed: str
    changed: str
    without_label: str
    cost: str
    cites: Markup


@dataclass(frozen=True)
class JudgedTable:
    """All models' answers to a task."""

    task: str
    judge: str
    rounds: int
    rows: tuple[JudgedRow, ...]


def judged_tables(verdict: Verdict, citations: Citations | None = None) -> tuple[JudgedTable, ...]:
    """A table for each task and judge; none where nothing is judged. Steps are cited where there are citations."""
    return tuple(
        JudgedTable(str(task), str(judge), rows[0].rounds, tuple(_row(one, verdict.base, citations) for one in rows))
        for (task, judge), rows in by(verdict.judged, "task", "judge").items()
    )


def _row(found: JudgedFinding, base: str, citations: Citations | None) -> JudgedRow:
    rate = _without_noise(found.win_rate)
    told = found.against == "base" and rate is not None and not rate.low <= EQUAL <= rate.high
    return JudgedRow(
        candidate=found.candidate,
        against=base if found.against == "base" else "baseline",
        engine=found.engine,
        emulated=found.provenance == "emulated",
        items=f"{found.items:,}" + (f", {found.identical:,} answers the same" if found.identical else ""),
        win_rate=_rate(rate),
        differs=told,
        at_equal_style=_rate(_without_noise(found.win_rate_at_equal_style)),
        swayed=_share(found.swayed_by_order),
        changed=_share(found.changed_when_repeated),
        without_label=f"{found.without_label:,} of {found.requests:,}",
        cost="" if found.dollars is None else f"${found.dollars:,.2f}",
        cites=Markup("") if citations is None else citations.cite(found.steps),
    )


def _without_noise(rate: Estimate | None) -> Estimate | None:
    """To a hundred-thousandth: the fit of a regression ends near ½, not at it."""
    if rate is None:
        return None
    value, low, high = (round(one, 5) for one in (rate.value, rate.low, rate.high))
    return Estimate(value=value, low=low, high=high, level=rate.level)


def _rate(rate: Estimate | None) -> str:
    return "no label" if rate is None else interval(rate, "%", scale=100, bound=100 * EQUAL)


def _share(share: float | None) -> str:
    return "" if share is None else percent(share)
