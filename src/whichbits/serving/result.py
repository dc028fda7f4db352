"""What a measured rung hands on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import ConfigDict

from whichbits.serving.distribution import Distribution, distribution
from whichbits.serving.observation import Observation, RequestRow, row
from whichbits.serving.steady import Steady
from whichbits.serving.workload import Frozen


class Metrics(Frozen):
    """Metrics of one rung; docs/serving.md defines each by its formula. None where no request gave one."""

    requests_per_second: float | None
    output_tokens_per_second: float | None
    ttft_s: Distribution | None
    itl_s: Distribution | None
    """Over all gaps between chunks of all requests."""
    tpot_s: Distribution | None
    latency_s: Distribution | None


class Evidence(Frozen):
    """What the rung's validity was judged by."""

    requests: int
    """Measured requests that were answered in full."""
    requests_planned: int
    errors: int
    """Of all requests, warm-up included."""
    first_error: str | None
    steady_s: float | None
    """Length of the steady window."""
    waves: float | None
    """Mean latencies that fit into it."""
    in_flight: float | None
    """Mean number of requests in flight in it; Little's law makes it X · R."""
    offered_rate: float | None
    """Arrivals per second in it; None for a closed loop."""
    dispatch_delay_s: float | None
    """Mean time from when a request was due to when it was sent."""
    client_cpu: float
    """Cores' worth of CPU that the client used."""
    client_busiest_cpu: float
    """The same of its busiest process."""
    client_cpus: int
    """Cores it was allowed."""
    clock_step_s: float
    prompt_tokens: tuple[int, int] | None
    """Smallest and largest, as the server counted."""
    output_tokens: tuple[int, int] | None
    tokens_per_chunk: float | None
    prefix_cache_hit_rate: float | None
    """Hits / queries of the server's prefix cache during the rung; None where it does not say."""
    foreign_tokens: float | None
    """Share of the tokens the server generated during the rung that were not ours; None where it does not say."""
    loop_lag_s: float | None = None
    """Mean lateness of the client's event loop, and so of the times it stamps."""
    at_once: float | None = None
    """Share of the requests of which all tokens arrived in one piece; None where none was answered."""


class RungResult(Frozen):
    """One rung of one workload, measured once."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    rung: str
    """'synchronous', 'concurrency N' or 'rate R'."""
    concurrency: int | None
    rate: float | None
    valid: bool
    reasons: tuple[str, ...]
    """Why it is not valid."""
    metrics: Metrics
    evidence: Evidence
    rows: tuple[RequestRow, ...]

    def summary(self) -> dict[str, Any]:
        """Everything but the rows, as JSON values."""
        return self.model_dump(mode="json", exclude={"rows"})


def rows_of(seen: Sequence[Observation]) -> tuple[RequestRow, ...]:
    """Rows of the measured requests, warm-up left out, in the order they were sent."""
    return tuple(row(one) for one in seen if not one.warmup)


def metrics_of(seen: Sequence[Observation], rows: Sequence[RequestRow], window: Steady | None) -> Metrics:
    """Metrics of a rung from its measured requests and its steady window."""
    gaps = [gap for one in seen if not one.warmup and one.error is None for gap in one.gaps_s]
    return Metrics(
        requests_per_second=window.requests_per_second if window else None,
        output_tokens_per_second=window.output_tokens_per_second if window else None,
        ttft_s=distribution([one.ttft_s for one in rows if one.ttft_s is not None]),
        itl_s=distribution(gaps),
        tpot_s=distribution([one.tpot_s for one in rows if one.tpot_s is not None]),
        latency_s=distribution([one.latency_s for one in rows if one.latency_s is not None]),
    )
