"""What a ladder of loads says: where throughput stops growing, and how much load the latency limits allow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from whichbits.serving.distribution import order_interval
from whichbits.serving.result import RungResult
from whichbits.serving.workload import Frozen, Limit, Slo

GAIN = 0.05
"""Growth of throughput over a doubling of concurrency below which a ladder is saturated."""

Answer = Literal["met", "missed", "inconclusive"]


class Capacity(Frozen):
    """The highest load of a ladder that meets an SLO."""

    rung: str
    concurrency: int | None
    requests_per_second: float
    conclusive: bool
    """True where every percentile's interval lies within its limit too."""


def saturated(throughputs: Sequence[float]) -> bool:
    """Whether the last rung of a doubling ladder gained less than 5 % over the one before it."""
    return len(throughputs) > 1 and throughputs[-1] < (1 + GAIN) * throughputs[-2]


def knee(ladder: Sequence[RungResult]) -> RungResult | None:
    """The valid rung of least concurrency whose throughput is within 5 % of the highest; None without one."""
    rated = [(one.metrics.requests_per_second, one) for one in ladder if one.valid and one.concurrency is not None]
    known = [(rate, one) for rate, one in rated if rate is not None]
    if not known:
        return None
    highest = max(rate for rate, _ in known)
    return min((one for rate, one in known if rate >= highest / (1 + GAIN)), key=lambda one: one.concurrency or 0)


def meets(result: RungResult, slo: Slo) -> Answer:
    """Whether a rung meets every limit, by the intervals of its percentiles: met, missed, or inconclusive."""
    answers = [_within([value for value in values if value is not None], limit) for values, limit in _limited(result, slo)]
    if "missed" in answers:
        return "missed"
    return "inconclusive" if "inconclusive" in answers else "met"


def _limited(result: RungResult, slo: Slo) -> list[tuple[list[float | None], Limit]]:
    """The samples that each limit of the SLO is about."""
    found: list[tuple[list[float | None], Limit]] = []
    if slo.ttft is not None:
        found.append(([row.ttft_s for row in result.rows], slo.ttft))
    if slo.itl is not None:
        found.append(([row.itl_s for row in result.rows], slo.itl))
    if slo.latency is not None:
        found.append(([row.latency_s for row in result.rows], slo.latency))
    return found


def _within(values: Sequence[float], limit: Limit) -> Answer:
    if not values:
        return "inconclusive"
    low, high = order_interval(values, limit.percentile)
    if high is not None and high <= limit.seconds:
        return "met"
    return "missed" if low > limit.seconds else "inconclusive"


def capacity(ladder: Sequence[RungResult], slo: Slo) -> Capacity | None:
    """The valid rung of highest throughput that meets the SLO; one that may meet it where none surely does; else None."""
    for wanted in ("met", "inconclusive"):
        fitting = [one for one in ladder if one.valid and one.metrics.requests_per_second and meets(one, slo) == wanted]
        if fitting:
            best = max(fitting, key=lambda one: one.metrics.requests_per_second or 0.0)
            return Capacity(
                rung=best.rung,
                concurrency=best.concurrency,
                requests_per_second=best.metrics.requests_per_second or 0.0,
                conclusive=wanted == "met",
            )
    return None
