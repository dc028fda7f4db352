"""Where the throughput of a load sweep stops growing."""

from __future__ import annotations

from collections.abc import Sequence

GAIN = 0.05
"""Growth of throughput over a doubling of concurrency below which a load sweep is saturated."""


def saturated(throughputs: Sequence[float]) -> bool:
    """Whether the last load level of a doubling sweep gained less than 5 % over the one before it."""
    return len(throughputs) > 1 and throughputs[-1] < (1 + GAIN) * throughputs[-2]
