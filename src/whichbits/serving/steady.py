"""The steady part of a load level, and the throughput in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
