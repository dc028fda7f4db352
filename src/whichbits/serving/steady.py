"""The steady part of a load level, and the throughput in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from whichbits.serving.observation import Observation
from whichbits.serving.workload import LoadLevel


@dataclass(frozen=True)
class Steady:
    """The steady window of a load level and its rates. Times in seconds since the load level began."""

    begin_s: float
    end_s: float
    requests_per_second: float
    output_tokens_per_second: float
    in_flight: float
    """Mean number of requests in flight."""

    @property
    def seconds(self) -> float:
        """Length of the window."""
        return self.end_s - self.begin_s


def steady_window(seen: Sequence[Observation], level: LoadLevel) -> tuple[float, float]:
    """Begin and end of the time in which the load is the one asked for.

    Closed loop of N: from the N-th completion (the warm-up is through) to the first completion that no new request
    replaces, the N-th last. Arrivals at a rate: from the first measured arrival to the last.
    """
    if level.concurrency is None:
        measured = [one.start_s for one in seen if not one.warmup]
        return min(measured), max(measured)
    ends = sorted(one.end_s for one in seen)
    return ends[level.concurrency - 1], ends[-level.concurrency]


def steady(seen: Sequence[Observation], level: LoadLevel, *, until_s: float | None = None) -> Steady | None:
    """Rates in the steady window [a, b]; None where requests were too few to have one.

    A request that was in service for L seconds, of which s fall into the window, counts s/L of itself and of its tokens:

        requests per second = Σ (s_i / L_i) / (b − a)          in flight = Σ s_i / (b − a)

    The window ends no later than `until_s`, from when on some requests in flight are not among those `seen`.
    """
    begin, end = steady_window(seen, level)
    end = end if until_s is None else min(end, until_s)
    if end <= begin:
        return None
    requests = tokens = busy = 0.0
    for one in seen:
        overlap = min(one.end_s, end) - max(one.start_s, begin)
        if overlap > 0:
            busy += overlap
            if one.error is None:
                share = overlap / (one.end_s - one.start_s)
                requests += share
                tokens += share * one.output_tokens
    window = end - begin
    return Steady(begin, end, requests / window, tokens / window, busy / window)


def mean_latencies(window: Steady, latency_s: float) -> float:
    """Mean latencies that fit into the window; at concurrency N each is the time of N requests."""
    return window.seconds / latency_s


PARTS = 10
"""Parts of the window that drift and a growing backlog are told by, as neighbouring requests are alike."""
DRIFT_T = 3.36
"""Student's t of 8 degrees of freedom that chance exceeds once in a hundred times."""


def drift(seen: Sequence[Observation], window: Steady) -> float | None:
    """By which share the mean latency changed from the first half of the window to the second; None where it is chance.

    Of the requests that start in the window, in order: whether the means of ten parts have a slope.
    """
    inside = [one for one in seen if one.error is None and window.begin_s <= one.start_s <= window.end_s]
    if len(inside) < 2 * PARTS:
        return None
    latencies = np.array([one.end_s - one.start_s for one in sorted(inside, key=lambda one: one.start_s)])
    parts = np.array([part.mean() for part in np.array_split(latencies, PARTS)])
    if np.ptp(parts) == 0:
        return None
    along = float(np.corrcoef(np.arange(PARTS), parts)[0, 1])
    told = along**2 * (PARTS - 2) > DRIFT_T**2 * (1 - along**2)
    first, second = np.split(parts, 2)
    return float(second.mean() / first.mean()) - 1 if told else None


GROWTH_T = 2.262
"""Student's t of 9 degrees of freedom that chance exceeds upwards once in forty times."""
ROUNDING = 1 / 6
"""Variance of a count of whole requests in a part: it is off by up to half a request at either end."""


def backlog_growth(seen: Sequence[Observation], window: Steady, rate: float) -> int | None:
    """By how many the requests in flight grew in the window where the server does not keep up; None where it is chance.

    In each of ten parts, of the time after the first mean latency, in which the load fills the server:

        shortfall = min(rate, rate that came) · seconds − requests that ended

    Whether their mean is above 0 by Student's t. `rate` are the arrivals per second that were asked for. What falls short of
    that as well as of what came is the server: a cluster of arrivals alone is chance, and leaves again. Parts of a queue that
    comes and goes are correlated negatively, so that less than one in forty stable loads is told.
    """
    starts, ends = (np.sort([getattr(one, name) for one in seen]) for name in ("start_s", "end_s"))
    measured = [one.end_s - one.start_s for one in seen if not one.warmup]
    begin = max(window.begin_s, float(starts[0] + np.mean(measured)))
    edges = np.linspace(begin, window.end_s, PARTS + 1)
    came, ended = (np.diff(np.searchsorted(moments, edges, side="right")) for moments in (starts, ends))
    seconds = (window.end_s - begin) / PARTS
    if seconds <= 0 or came.sum() < 2 * PARTS:
        return None
    shortfall = min(rate * seconds, float(came.mean())) - ended
    spread = max(float(shortfall.var(ddof=1)), ROUNDING)
    told = float(shortfall.mean()) > GROWTH_T * (spread / PARTS) ** 0.5
    return int(came.sum() - ended.sum()) if told else None
