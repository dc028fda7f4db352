"""Numbers, names and loads as the reader sees them."""

from __future__ import annotations

from collections.abc import Sequence

from whichbits.verdict.estimates import SYNCHRONOUS, Estimate, SingleRound, Timed


def percent(estimate: Estimate, bound: float | None = None) -> str:
    """'99.8 % (99.1 to 100.4)'; with more decimals where an end would otherwise be read as `bound`."""
    ends = (estimate.value, estimate.low, estimate.high)
    decimals = 1
    while decimals < 3 and bound is not None and any(round(e, decimals) == round(bound, decimals) != e for e in ends):
        decimals += 1
    value, low, high = (f"{end:.{decimals}f}" for end in ends)
    return f"{value} % ({low} to {high})"


def times(ratio: Timed) -> str:
    """'1.21 times (1.10 to 1.33)'; with more decimals where an end would otherwise be read as 1."""
    if isinstance(ratio, SingleRound):
        return f"{ratio.value:.2f} times (one round, so without an interval)"
    decimals = 2
    while decimals < 5 and any(round(end, decimals) == 1 != end for end in (ratio.low, ratio.high)):
        decimals += 1
    value, low, high = (f"{end:.{decimals}f}" for end in (ratio.value, ratio.low, ratio.high))
    return f"{value} times ({low} to {high})"


def load_interval(load: Estimate) -> str:
    """'3.1 (2.6 to 3.7)'."""
    value, low, high = (f"{end:.2g}" if end < 10 else f"{end:.0f}" for end in (load.value, load.low, load.high))
    return f"{value} ({low} to {high})"


def listing(names: Sequence[str]) -> str:
    """'a', 'a and b', 'a, b and c'."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def plural(count: int, noun: str) -> str:
    """'1 task', '5 tasks'."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def at_load(load: str) -> str:
    """' at concurrency 16', or nothing for one request at a time."""
    return "" if load == SYNCHRONOUS else f" at {load}"
