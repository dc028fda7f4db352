"""Axes: from values to positions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from whichbits.reporting.numbers import fixed
from whichbits.verdict.estimates import Estimate

INSET = 1.5
"""Percent of the width kept free at either end, so that a mark at an end is drawn whole."""


@dataclass(frozen=True)
class Scale:
    """A linear axis from `low` to `high`, with labelled ticks."""

    low: float
    high: float
    ticks: tuple[float, ...]
    digits: int

    def fraction(self, value: float) -> float:
        """Position of `value` from 0 (low end) to 1 (high end), kept within the axis."""
        return min(max((value - self.low) / (self.high - self.low), 0.0), 1.0)

    def x(self, value: float) -> str:
        """Horizontal position of `value`, as an SVG percentage."""
        return f"{INSET + (100 - 2 * INSET) * self.fraction(value):.2f}%"

    def holds(self, value: float) -> bool:
        """Whether `value` lies on the axis."""
        return self.low <= value <= self.high

    def label(self, tick: float) -> str:
        """Text of a tick."""
        return fixed(tick, self.digits)


def linear(low: float, high: float, *, count: int = 6) -> Scale:
    """The axis from `low` to `high` with about `count` ticks at 1, 2 or 5 times a power of ten."""
    if not low < high:
        spread = abs(low) / 10 or 1.0
        low, high = low - spread, high + spread
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return Scale(low, high, tuple(round(i * step, digits) for i in range(first, last + 1)), digits)


def around(estimates: Sequence[Estimate], include: Iterable[float] = (), *, count: int = 6, widest: float = 3.0) -> Scale:
    """The axis that shows all estimates and the values to `include`.

    An interval is shown up to `widest` times the median half-width either side of its value, so that one task with
    few items does not squeeze the others; what goes beyond is drawn with an arrow.
    """
    finite = [e for e in estimates if math.isfinite(e.value) and math.isfinite(e.low) and math.isfinite(e.high)]
    reach = widest * median([(e.high - e.low) / 2 for e in finite]) if finite else 0.0
    ends = [max(e.low, e.value - reach) for e in finite] + [min(e.high, e.value + reach) for e in finite] + list(include)
    if not ends:
        return linear(0, 1, count=count)
    pad = 0.04 * (max(ends) - min(ends))
    return linear(min(ends) - pad, max(ends) + pad, count=count)


def from_zero(estimates: Iterable[Estimate], *, count: int = 5) -> Scale:
    """The axis from zero to the largest estimate; `count` is about the number of ticks."""
    tops = [min(e.high, 3 * e.value) for e in estimates if math.isfinite(e.value) and e.value > 0]
    return linear(0, 1.04 * max(tops, default=1.0), count=count)
