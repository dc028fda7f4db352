"""Numbers as the reader sees them."""

from __future__ import annotations

from collections.abc import Sequence

from whichbits.verdict.model import Estimate


def percent(estimate: Estimate, bound: float | None = None) -> str:
    """'99.8 % (99.1 to 100.4)'; with more decimals where an end would otherwise be read as `bound`."""
    ends = (estimate.value, estimate.low, estimate.high)
    decimals = 1
    while decimals < 3 and bound is not None and any(round(e, decimals) == round(bound, decimals) != e for e in ends):
        decimals += 1
    value, low, high = (f"{end:.{decimals}f}" for end in ends)
    return f"{value} % ({low} to {high})"


def times(estimate: Estimate) -> str:
    """'1.21 times (1.10 to 1.33)'."""
    return f"{estimate.value:.2f} times ({estimate.low:.2f} to {estimate.high:.2f})"


def listing(names: Sequence[str]) -> str:
    """'a', 'a and b', 'a, b and c'."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def plural(count: int, noun: str) -> str:
    """'1 task', '5 tasks'."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
