"""Numbers as people read them: with a unit, with an interval, and with no more digits than the interval allows."""

from __future__ import annotations

import math

from whichbits.core import durations
from whichbits.verdict.estimates import Estimate, SingleRound, Timed

MAX_DECIMALS = 6


def decimals(spread: float) -> int:
    """Digits after the point that an uncertainty of `spread` allows; negative where tens or hundreds are rounded.

    The spread keeps two significant digits, or one where it is below 1 and begins with 3 or more, so that rounding
    changes it by a sixth at most.
    """
    exponent = math.floor(math.log10(spread))
    two = spread >= 1 or spread < 2.95 * 10.0**exponent
    return min((1 if two else 0) - exponent, MAX_DECIMALS)


def fixed(value: float, digits: int) -> str:
    """Decimal text of `value` rounded to `digits` after the point, with thousands separated and a true minus sign."""
    if not math.isfinite(value):
        return "∞" if value > 0 else "−∞" if value < 0 else "undefined"
    rounded = round(value, digits) + 0.0
    return f"{rounded:,.{max(digits, 0)}f}".replace("-", "−")


def significant(value: float, digits: int = 3) -> str:
    """Decimal text of `value` with `digits` significant digits, for a value without an interval."""
    if value == 0 or not math.isfinite(value):
        return fixed(value, 0)
    return fixed(value, min(digits - 1 - math.floor(math.log10(abs(value))), MAX_DECIMALS))


def with_unit(text: str, unit: str) -> str:
    """Text and unit with a space between; the sign × follows the number directly."""
    return f"{text}{unit}" if unit in ("", "×") else f"{text} {unit}"


def interval(estimate: Timed, unit: str = "", *, scale: float = 1.0, bound: float | None = None) -> str:
    """Value and interval, e.g. '101.2 % (99.8 – 102.6)', each multiplied by `scale`.

    All three are rounded alike, by half the interval's width (see `decimals`), and finer where an end would else read as the
    `bound` that it lies above or below. A value of one round has no interval, and says so: '1.42× (one round)'.
    """
    if isinstance(estimate, SingleRound):
        return f"{with_unit(significant(scale * estimate.value), unit)} (one round)"
    value, low, high = (scale * x for x in (estimate.value, estimate.low, estimate.high))
    half = (high - low) / 2
    if half > 0 and math.isfinite(half):
        digits = decimals(half)
        while bound is not None and digits < MAX_DECIMALS and _reads_as(bound, (low, high), digits):
            digits += 1
        texts = [fixed(x, digits) for x in (value, low, high)]
    else:
        texts = [significant(x) for x in (value, low, high)]
    joint = "to" if low < 0 else "–"
    return f"{with_unit(texts[0], unit)} ({texts[1]} {joint} {texts[2]})"


def _reads_as(bound: float, ends: tuple[float, float], digits: int) -> bool:
    return any(not math.isclose(end, bound) and round(end, digits) == round(bound, digits) for end in ends)


def seconds_interval(estimate: Timed) -> str:
    """A duration in seconds with its interval, printed in s or ms, whichever reads better."""
    return interval(estimate, "ms", scale=1000.0) if abs(estimate.value) < 1 else interval(estimate, "s")


def times(ratio: Timed) -> str:
    """A ratio of speeds and its interval, e.g. '1.42× (1.38 – 1.45)', fine enough to tell an end from 1."""
    return interval(ratio, "×", bound=1.0)


def drawn(estimate: Timed) -> Estimate:
    """What a chart can draw: a value of one round as a mark without whiskers."""
    if isinstance(estimate, SingleRound):
        return Estimate(value=estimate.value, low=estimate.value, high=estimate.value)
    return estimate


def percent(share: float, digits: int = 1) -> str:
    """A share (0–1) in %."""
    return with_unit(fixed(100 * share, digits), "%")


def duration(seconds: float) -> str:
    """Wall-clock time, e.g. '4.2 s', '12 min 40 s', '1 h 05 min'."""
    if seconds < 10:
        return f"{fixed(seconds, 1)} s"
    return durations.duration(seconds)


def byte_size(count: int) -> str:
    """Bytes in decimal units with three significant digits, e.g. '269 MB'."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{significant(size)} {unit}" if unit != "B" else f"{count} B"
        size /= 1000
    return f"{significant(size)} TB"
