"""Where a noisy curve that rises with the rate of arrivals crosses 1, from a few points of it.

Near the crossing the logarithm of the curve is close to linear in that of the rate, so that points on both sides tell its place
better than any one of them. Beyond a knee it explodes: logarithms are cut off, so that such a point says "above" and no more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, inf, log, sqrt
from statistics import linear_regression

CLOSE = 1.2
"""Points whose rate is within this factor of the crossing enter the line: further away the curve bends."""
CUT = 0.2
"""Logarithms beyond ± this are cut off."""
APART = 1.05
"""The next point lies this factor from the crossing: far enough to tell the slope, near enough not to bend."""


@dataclass(frozen=True)
class Point:
    """The curve at a rate; `value` is infinite where it has none, as requests pile up."""

    rate: float
    value: float

    @property
    def logs(self) -> tuple[float, float]:
        """Logarithms of rate and value, the latter cut off."""
        return log(self.rate), min(max(log(self.value) if self.value > 0 else -inf, -CUT), CUT)


def bracket(points: Sequence[Point]) -> tuple[float, float]:
    """The highest rate below 1 and the lowest from 1 on; 0 and infinity where there is none. Noise may exchange the two."""
    return (
        max((point.rate for point in points if point.value < 1), default=0.0),
        min((point.rate for point in points if point.value >= 1), default=inf),
    )


def near(points: Sequence[Point]) -> list[Point]:
    """The points close to the crossing, of points on both sides of it."""
    below, above = bracket(points)
    middle = sqrt(below * above)
    return [point for point in points if 1 / CLOSE <= point.rate / middle <= CLOSE]


def crossing(close: Sequence[Point]) -> float | None:
    """The rate at which the line through them is 1; None where it does not rise, or not among them."""
    rates, values = zip(*(point.logs for point in close), strict=True) if close else ((), ())
    if len(set(rates)) < 2:
        return None
    line = linear_regression(rates, values)
    if line.slope <= 0:
        return None
    found = -line.intercept / line.slope
    return exp(found) if min(rates) - log(APART) <= found <= max(rates) + log(APART) else None
