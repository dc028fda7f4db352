"""How many requests a run of arrivals has, and how long it may take."""

from __future__ import annotations

from math import ceil, sqrt

from whichbits.core.errors import UserError
from whichbits.schema.workload import CapacitySearch, Ramp, Slo, Workload

TAIL_REQUESTS = 160
"""Requests of a run that lie beyond the highest limited percentile; with fewer the capacity found is too high."""
MOST_REQUESTS = 1_000_000
MOST_S = 86_400.0
LEAST_S = 0.001
"""Of a log: its requests are to come at some rate."""


def requests_of(search: CapacitySearch, slo: Slo) -> int:
    """Requests measured in a run that looks for the capacity."""
    return search.requests or least_requests(slo)


def least_requests(slo: Slo) -> int:
    """Fewest of them, and how many there are where the workload does not say."""
    return ceil(TAIL_REQUESTS / (1 - _highest(slo) / 100))


def _highest(slo: Slo) -> float:
    """The highest limited percentile."""
    return max(limit.percentile for limit in slo.limits().values())


def warmup_of(requests: int) -> int:
    """Requests before those that are measured."""
    return ceil(requests / 10)


def check_runs(workload: Workload) -> None:
    """Raise UserError for runs of arrivals that are too short for what they are to tell, or that would hardly end."""
    if workload.capacity is not None and workload.slo is not None:
        _check_capacity(workload.capacity, workload.slo)
    total = workload.rate_requests + warmup_of(workload.rate_requests)
    for rate in workload.rates:
        if total / rate > MOST_S:
            raise UserError(
                f"workload.rate = {rate:g}: {total} requests take more than {MOST_S / 3600:g} hours",
                remedy=f"give {ceil(1e4 * total / MOST_S) / 1e4:g} or more, or fewer rate_requests",
            )
    if workload.ramp is not None:
        _check_ramp(workload.ramp)


def _check_capacity(search: CapacitySearch, slo: Slo) -> None:
    least = least_requests(slo)
    if least > MOST_REQUESTS:
        raise UserError(
            f"workload.slo: a run that tells the {_highest(slo):g}th percentile has {least:,} requests",
            remedy=f"limit a lower percentile, at most the {100 - 100 * TAIL_REQUESTS / MOST_REQUESTS:g}th",
        )
    if search.requests is not None and search.requests < least:
        raise UserError(
            f"workload.capacity.requests = {search.requests} is too few to tell the {_highest(slo):g}th percentile",
            remedy=f"leave it out, or give {least} or more",
        )


def _check_ramp(ramp: Ramp) -> None:
    """The last requests come at the rate of the end, by chance three standard deviations of them."""
    requests = (ramp.begin + ramp.end) / 2 * ramp.seconds
    if not 1 <= requests <= MOST_REQUESTS or 3 * sqrt(requests) / ramp.end > MOST_S:
        raise UserError(
            f"workload.ramp: {ramp.begin:g} to {ramp.end:g} in {ramp.seconds:g} s are {requests:,.4g} requests, "
            f"which is none, more than {MOST_REQUESTS:,}, or does not end in {MOST_S / 3600:g} hours",
            remedy="give rates and seconds that make some requests, as {from: 1, to: 8, seconds: 60}",
        )
