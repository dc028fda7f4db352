"""What a query costs: pure formulas of latency, throughput, price and number of devices.

Two modes, as in "Give Me BF16 or Give Me Death?" (arXiv 2411.02355), section 5: synchronous, one query at a time; asynchronous,
many at once. Within one device kind every comparison is a ratio in which the price cancels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

SECONDS_PER_HOUR = 3600


def queries_per_dollar_synchronous(latency_s: float, price_per_hour: float) -> float:
    """3600 / (latency · price): queries that one dollar buys when they run one after another."""
    _require_positive(latency_s=latency_s, price_per_hour=price_per_hour)
    return SECONDS_PER_HOUR / (latency_s * price_per_hour)


def queries_per_dollar_asynchronous(queries_per_second: float, price_per_hour: float) -> float:
    """QPS · 3600 / price: queries that one dollar buys at a sustained rate."""
    _require_positive(queries_per_second=queries_per_second, price_per_hour=price_per_hour)
    return queries_per_second * SECONDS_PER_HOUR / price_per_hour


def cost_reduction(queries_per_dollar: float, base_queries_per_dollar: float) -> float:
    """Queries per dollar over the base's; larger than 1 is cheaper than the base."""
    _require_positive(queries_per_dollar=queries_per_dollar, base_queries_per_dollar=base_queries_per_dollar)
    return queries_per_dollar / base_queries_per_dollar


def cost_reduction_synchronous(latency_s: float, base_latency_s: float, *, devices: int = 1, base_devices: int = 1) -> float:
    """Cost reduction within one device kind priced per device: (base latency · base devices) / (latency · devices)."""
    _require_positive(latency_s=latency_s, base_latency_s=base_latency_s, devices=devices, base_devices=base_devices)
    return (base_latency_s * base_devices) / (latency_s * devices)


def cost_reduction_asynchronous(
    queries_per_second: float, base_queries_per_second: float, *, devices: int = 1, base_devices: int = 1
) -> float:
    """Cost reduction within one device kind priced per device: (QPS / devices) / (base QPS / base devices)."""
    _require_positive(
        queries_per_second=queries_per_second,
        base_queries_per_second=base_queries_per_second,
        devices=devices,
        base_devices=base_devices,
    )
    return (queries_per_second / devices) / (base_queries_per_second / base_devices)


def arithmetic_mean(ratios: Sequence[float], weights: Sequence[float] | None = None) -> float:
    """Mean over workloads as the paper takes it, weighted by their share of the traffic where given.

    The mean of ratios depends on which side is called the base; `geometric_mean` does not.
    """
    return fmean(ratios, weights)


def geometric_mean(ratios: Sequence[float], weights: Sequence[float] | None = None) -> float:
    """exp of the (weighted) mean of logarithms: the inverse ratios have the inverse mean."""
    return math.exp(fmean([math.log(ratio) for ratio in ratios], weights))


def dollars_per_query(queries_per_dollar: float, utilisation: float = 1.0) -> float:
    """Cost of one query on a deployment that is busy `utilisation` (0–1) of the hours it is paid for."""
    _require_positive(queries_per_dollar=queries_per_dollar)
    _require_share(utilisation)
    return 1 / (queries_per_dollar * utilisation)


@dataclass(frozen=True)
class Fleet:
    """What it takes to serve a target rate with whole replicas."""

    replicas: int
    price_per_hour: float
    """US dollars per hour of all replicas."""
    dollars_per_query: float
    utilisation: float
    """Share of the replicas' maximum rate that the target uses."""


def fleet(
    target_queries_per_second: float, queries_per_second: float, price_per_hour: float, *, largest_utilisation: float = 1.0
) -> Fleet:
    """Whole replicas for a target rate, and their cost; the cost of a query is a staircase of the target.

    `queries_per_second` and `price_per_hour` are those of one replica; `largest_utilisation` (0–1) is how much of its rate a
    replica may be planned to carry.
    """
    _require_positive(
        target_queries_per_second=target_queries_per_second,
        queries_per_second=queries_per_second,
        price_per_hour=price_per_hour,
    )
    _require_share(largest_utilisation)
    load = target_queries_per_second / (queries_per_second * largest_utilisation)
    # A target that is a whole multiple of the rate must not need one more replica because of rounding.
    replicas = math.ceil(load) if abs(load - round(load)) > 1e-9 * load else round(load)
    replicas = max(replicas, 1)
    total = replicas * price_per_hour
    return Fleet(
        replicas=replicas,
        price_per_hour=total,
        dollars_per_query=total / (target_queries_per_second * SECONDS_PER_HOUR),
        utilisation=target_queries_per_second / (replicas * queries_per_second),
    )


def _require_positive(**values: float) -> None:
    for name, value in values.items():
        if not 0 < value < math.inf:
            raise ValueError(f"{name} is {value}, must be positive and finite")


def _require_share(utilisation: float) -> None:
    if not 0 < utilisation <= 1:
        raise ValueError(f"utilisation is {utilisation}, must be larger than 0 and at most 1")
