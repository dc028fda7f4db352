"""Why a round that calls itself valid cannot enter a figure, in words as those of the measurement itself."""

from __future__ import annotations


def unusable_rate(metric: str, value: object) -> str:
    """A rate that is not a number to divide by."""
    return f"{metric} is {value}, not a finite number above 0"


def unusable_times(metric: str, wrong: int, requests: int) -> str:
    """Times of requests of which some, or all, are not numbers."""
    return f"{metric} of {wrong} of {requests} requests is not a finite number above 0"
