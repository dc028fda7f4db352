"""The highest rate of arrivals at which a workload's limits hold, of each candidate and over the base's, with its interval."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import exp, inf, isfinite, log, sqrt

import numpy as np

from whichbits.core.crossing import Point, bracket, crossing, near
from whichbits.verdict.estimates import Estimate
from whichbits.verdict.findings import CapacityRound, Findings
from whichbits.verdict.serving_options import speed_problem
from whichbits.verdict.verdict import CapacityFinding

FITTED = 4
"""Fewest runs near the capacity that an interval is taken from: a line through three leaves one degree of freedom."""


SYSTEMATIC = 0.01
"""By how much runs of this length put the capacity off: a percentile of few requests in a queue is too low by its skewness, and
the line bends. Simulated, at most 1.3 % either way (docs/verdict.md)."""


@dataclass(frozen=True)
class Capacity:
    """Requests per second with an interval: without end (infinite) where no run missed a limit, from 0 where all did."""

    rate: float
    low: float
    high: float


def capacity(points: Sequence[Point], *, level: float = 0.95) -> Capacity:
    """Where the worst limit is just met, by a line through logarithms of the runs near it.

    The interval is Fieller's, widened by `SYSTEMATIC`. `points` are the runs, their value the largest share of a limit that its
    percentile takes. Where fewer than four are near, or the line does not rise, the interval is between a rate at which the
    limits held and one at which they did not.
    """
    below, above = bracket(points)
    if above == inf or below == 0:
        return Capacity(below or above, below, above)
    close = near(points)
    found = crossing(close) if len(close) >= FITTED else None
    if found is None:
        return Capacity(sqrt(below * above), min(below, above), max(below, above))
    low, high = _fieller(close, level)
    return Capacity(found, low * exp(-SYSTEMATIC), high * exp(SYSTEMATIC))


def _fieller(close: Sequence[Point], level: float) -> tuple[float, float]:
    """Rates at which the line is not told from 1: those with (a + b·x)² ≤ t²·var(a + b·x), x = log rate − its mean.

    E. C. Fieller, Some problems in interval estimation, J. R. Stat. Soc. B 16 (1954). Without end where the slope itself is not
    told from 0.
    """
    from scipy.special import stdtrit

    rates, values = np.array([point.logs for point in close]).T
    n, centre = len(close), float(rates.mean())
    x = rates - centre
    spread, mean = float((x**2).sum()), float(values.mean())
    slope = float((x * values).sum()) / spread
    variance = float(((values - mean - slope * x) ** 2).sum()) / (n - 2)
    scaled = float(stdtrit(n - 2, (1 + level) / 2)) ** 2 * variance
    a, b, c = slope**2 - scaled / spread, 2 * mean * slope, mean**2 - scaled / n
    if a <= 0:
        return 0.0, inf
    root = sqrt(max(b**2 - 4 * a * c, 0.0))
    return exp(centre + (-b - root) / (2 * a)), exp(centre + (-b + root) / (2 * a))


def ratio(ours: Capacity, theirs: Capacity, *, level: float = 0.95) -> Estimate | None:
    """Our capacity over theirs; None where an interval has no end.

    The distances of both from the ends of their intervals, as logarithms, are added in quadrature (MOVER: G. Y. Zou, A. Donner,
    Statistics in Medicine 27 (2008)), as their runs have arrivals of their own.
    """
    if not all(found.low > 0 and isfinite(found.high) for found in (ours, theirs)):
        return None
    value = log(ours.rate / theirs.rate)
    down = sqrt(log(ours.rate / ours.low) ** 2 + log(theirs.high / theirs.rate) ** 2)
    up = sqrt(log(ours.high / ours.rate) ** 2 + log(theirs.rate / theirs.low) ** 2)
    return Estimate(value=exp(value), low=exp(value - down), high=exp(value + up), level=level)


def capacity_findings(findings: Findings, *, level: float) -> Iterator[CapacityFinding]:
    """For each workload and deployment that looked for it: the base's capacity, then each candidate's."""
    seen = findings.capacity_rounds
    for workload, deployment in dict.fromkeys((one.workload, one.deployment) for one in seen):
        here = [one for one in seen if (one.workload, one.deployment) == (workload, deployment)]
        wanted = findings.workloads.get(workload)
        found = {name: capacity(_points(here, name), level=level) for name in dict.fromkeys(one.candidate for one in here)}
        for name in sorted(found, key=lambda name: name != findings.base):
            own = [one for one in here if one.candidate == name]
            base = found.get(findings.base)
            yield CapacityFinding(
                candidate=name,
                workload=workload,
                deployment=deployment,
                rate=found[name].rate,
                low=found[name].low,
                high=found[name].high if isfinite(found[name].high) else None,
                over_base=ratio(found[name], base, level=level) if base is not None and name != findings.base else None,
                target_rate=wanted.target_rate if wanted is not None else None,
                runs=len(_points(here, name)),
                valid=speed_problem(findings, name, deployment) is None,
                steps=tuple(dict.fromkeys(key for one in own for key in one.steps)),
            )


def _points(rounds: Sequence[CapacityRound], candidate: str) -> list[Point]:
    """The runs of a candidate; those of the base, each once, though every candidate's step of that round holds a copy."""
    points = [(one.session, one.repeat, one.load_level, one.point) for one in rounds if one.candidate == candidate]
    return [point for *_, point in dict.fromkeys(points)]
