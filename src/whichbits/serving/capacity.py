"""Capacity: the highest rate of arrivals at which the latency limits hold, looked for by a few runs at well-chosen rates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil, inf, sqrt

import numpy as np

from whichbits.core.crossing import APART, CLOSE, Point, bracket, crossing, near
from whichbits.schema.serve import CapacityRun
from whichbits.schema.workload import Slo, Workload
from whichbits.serving.result import LoadLevelResult
from whichbits.serving.run_length import requests_of, warmup_of
from whichbits.serving.traffic.arrivals import Random
from whichbits.serving.validity import MINIMUM_LATENCIES, judge_requests, piled_up
from whichbits.serving.workload import LoadLevel

STRIDE = 2.0
"""Largest step while capacity is not between two rates yet."""
LATENCIES = 3 * MINIMUM_LATENCIES
"""Mean latencies without load that a run lasts: under load they are longer."""


def capacity_levels(
    workload: Workload, results: Sequence[LoadLevelResult], earlier: Sequence[CapacityRun]
) -> Iterator[LoadLevel]:
    """A load level a run, each at a rate that the runs of `earlier` rounds and the `results` so far tell.

    The very first is at the throughput of a closed loop within the limits.
    """
    search, slo = workload.capacity, workload.slo
    if search is None or slo is None:
        return
    first = first_rate(results, slo)
    for number in range(1, search.runs + 1):
        points = [point(run) for run in (*earlier, *(one.capacity_run for one in results)) if run is not None]
        arrivals = Random(next_rate(points, first))
        requests = max(requests_of(search, slo), ceil(arrivals.rate * LATENCIES * _shortest(results)))
        yield LoadLevel(f"capacity run {number}", None, arrivals, warmup_of(requests), requests, seeks_capacity=True)


def point(run: CapacityRun) -> Point:
    """A run on the curve of the worst limit over the rate."""
    return Point(run.rate, inf if run.worst is None else run.worst)


def first_rate(results: Sequence[LoadLevelResult], slo: Slo) -> float:
    """Highest throughput of a closed loop within the limits; where none is, half the lowest. 1 where nothing was answered."""
    rates = {one.load_level: one.metrics.requests_per_second or 0.0 for one in results if one.concurrency is not None}
    held = [rates[one.load_level] for one in results if one.load_level in rates and worst_limit(one, slo) < 1]
    found = max(held) if held else min(rates.values(), default=0.0) / 2
    return found or 1.0


def _shortest(results: Sequence[LoadLevelResult]) -> float:
    """Shortest mean latency of the load levels so far, s; 0 where none has one."""
    return min((one.metrics.latency_s.mean for one in results if one.metrics.latency_s is not None), default=0.0)


def next_rate(points: Sequence[Point], first: float) -> float:
    """The rate of the next run."""
    if not points:
        return first
    below, above = bracket(points)
    if above == inf:
        return below * STRIDE
    if below == 0:
        return above / STRIDE
    close = near(points)
    if above / below > CLOSE or len(close) < 2:
        return _between(points, below, above)
    middle = crossing(close) or sqrt(below * above)
    lower = sum(point.rate < middle for point in close)
    return middle / APART if lower <= len(close) - lower else middle * APART


def _between(points: Sequence[Point], below: float, above: float) -> float:
    """By a secant of the logarithms, within the middle half of the two."""
    ends = [next(point.logs[1] for point in points if point.rate == rate) for rate in (below, above)]
    share = -ends[0] / (ends[1] - ends[0]) if ends[1] > ends[0] else 0.5
    return float(below * (above / below) ** min(max(share, 0.25), 0.75))


def worst_limit(result: LoadLevelResult, slo: Slo) -> float:
    """Largest share of a limit that its percentile takes; infinite where no request was answered."""
    shares = []
    for name, limit in slo.limits().items():
        seen = [value for row in result.rows if (value := row.values[f"{name}_s"]) is not None]
        shares.append(float(np.percentile(seen, limit.percentile)) / limit.seconds if seen else inf)
    return max(shares)


def capacity_run(result: LoadLevelResult, level: LoadLevel, workload: Workload) -> CapacityRun | None:
    """What a run tells: the rate at which requests came, and the worst limit.

    There is no worst limit where the server did not keep up, so that latency depends on the length of the run, or some failed.
    A run of few mean latencies has missed where it exceeds a limit, as the requests of a longer one would wait still longer.

    None where it tells nothing: it is not valid for another reason, as a saturated client, or too short to exceed a limit.
    """
    evidence, slo, rate = result.evidence, workload.slo, result.evidence.offered_rate or result.rate
    if slo is None or rate is None or evidence.mean_latencies is None:
        return None
    worst, short = worst_limit(result, slo), evidence.mean_latencies < MINIMUM_LATENCIES
    answered = evidence.model_copy(update={"errors": 0, "requests": evidence.requests_planned})
    if judge_requests(answered, result.metrics, workload.most_shared) or (short and worst < 1):
        return None
    missed = short or evidence.errors > 0 or evidence.backlog_growth is not None or piled_up(evidence, result.metrics)
    return CapacityRun(rate=rate, worst=None if missed else worst)
