"""The load that gives a rate, and the largest load within latency limits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from whichbits.prediction.model.forward_pass import Values
from whichbits.prediction.model.serving import Outcome, capacity, serve
from whichbits.prediction.model.work import Floats, Work

LOADS = 8
"""Loads, in equal ratios, among which the one with the highest rate is looked for."""
STEPS = 40
"""Halvings of the interval of concurrency."""


@dataclass(frozen=True)
class MeanLimits:
    """Latency limits on means, in seconds; infinity where there is none."""

    ttft_s: float = float("inf")
    tpot_s: float = float("inf")
    latency_s: float = float("inf")

    def met(self, outcome: Outcome) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Which points keep all limits."""
        result: np.ndarray[tuple[int], np.dtype[np.bool_]] = (
            (outcome.ttft <= self.ttft_s) & (outcome.tpot <= self.tpot_s) & (outcome.latency <= self.latency_s)
        )
        return result


def largest(work: Work, values: Values) -> Floats:
    """Most requests that run at once over all replicas."""
    return np.minimum(capacity(work, values), work.sequences) * work.replicas


@dataclass(frozen=True)
class Highest:
    """The highest rate: what a load test counts of it (requests a second), and the requests in flight that give it."""

    counted: Floats
    concurrency: Floats


def highest(work: Work, values: Values) -> Highest:
    """The highest rate that a load test counts, of loads from one request a replica to as many as run at once.

    At least what one request after the other gives on each replica. Mostly the largest load gives the highest rate; where
    requests are long a test counts more of a smaller one.
    """
    lone = serve(work, values, work.replicas)
    counted, concurrency = lone.rate, work.replicas
    top = largest(work, values)
    for share in np.linspace(0, 1, LOADS + 1)[1:]:
        load = work.replicas * (top / work.replicas) ** share
        seen = serve(work, values, load).window_rate
        counted, concurrency = np.maximum(counted, seen), np.where(seen >= counted, load, concurrency)
    return Highest(counted, concurrency)


def _bisect(work: Work, values: Values, holds: Callable[[Outcome], np.ndarray[tuple[int], np.dtype[np.bool_]]]) -> Floats:
    """Largest concurrency (from one request up) at which a condition holds that fails from some load on; NaN where never."""
    low, high = np.ones_like(work.prompt), largest(work, values)
    possible = holds(serve(work, values, low))
    always = holds(serve(work, values, high))
    for _ in range(STEPS):
        middle = np.sqrt(low * high)
        kept = holds(serve(work, values, middle))
        low, high = np.where(kept, middle, low), np.where(kept, high, middle)
    return np.where(always, largest(work, values), np.where(possible, low, np.nan))


def concurrency_at_rate(work: Work, values: Values, rates: Floats, highest: Floats) -> Floats:
    """Mean requests in flight at each rate (requests a second); NaN where no rate is given or it is above the highest.

    Below one request in flight the server is idle in part, and answers each as if it were alone.
    """
    if np.all(np.isnan(rates)):
        return np.full_like(rates, np.nan)
    found = _bisect(work, values, lambda outcome: outcome.rate <= rates)
    below = rates * serve(work, values, np.ones_like(rates)).latency
    return np.where(rates <= highest, np.where(np.isnan(found), below, found), np.nan)


def concurrency_within(work: Work, values: Values, limits: MeanLimits) -> Floats:
    """Largest concurrency within the limits; NaN where a lone request already breaks them."""
    return _bisect(work, values, limits.met)
