"""What the validity of a load is judged by: what the client saw and cost, and what the server says of itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from whichbits.engines.http.identity import Snapshot
from whichbits.schema.serve import Evidence, LengthsOff, Metrics
from whichbits.serving.counters import foreign_tokens, preemptions, prefix_cache_hit_rate, tokens_missing
from whichbits.serving.observation import Observation, in_one_piece
from whichbits.serving.steady import Steady, backlog_growth, drift, mean_latencies
from whichbits.serving.validity import prompt_tolerance
from whichbits.serving.workload import LoadLevel

if TYPE_CHECKING:
    from whichbits.serving.load import Load


def evidence_of(
    load: Load,
    level: LoadLevel,
    metrics: Metrics,
    window: Steady | None,
    before: Snapshot,
    after: Snapshot,
    cpus: int,
) -> Evidence:
    """Evidence of a load between two readings of its server; `window` is its steady part, `cpus` the client's cores."""
    seen = load.observations
    answered = [one for one in seen if one.error is None and not one.warmup]
    return of_requests(seen, level, metrics, window).model_copy(
        update={
            "client_cpu": load.client_cpu,
            "client_busiest_cpu": load.busiest_cpu,
            "client_cpus": cpus,
            "clock_step_s": load.clock_step_s,
            "prompts_off": _off(((one.asked_prompt_tokens, one.prompt_tokens) for one in answered), prompt_tolerance),
            "outputs_off": _off(((one.asked_output_tokens, one.output_tokens) for one in answered), lambda asked: 0),
            "prefix_cache_hit_rate": prefix_cache_hit_rate(before.metrics, after.metrics),
            "foreign_tokens": foreign_tokens(before.metrics, after.metrics, sum(one.output_tokens for one in seen)),
            "loop_lag_s": load.loop_lag_s,
            "tokens_missing": tokens_missing(before.metrics, after.metrics, sum(one.output_tokens for one in seen)),
            "server_started": after.started,
            "preemptions": preemptions(before.metrics, after.metrics),
            "abilities": load.abilities,
        }
    )


def of_requests(seen: Sequence[Observation], level: LoadLevel, metrics: Metrics, window: Steady | None) -> Evidence:
    """What the requests alone tell, whoever sent them: counts, lengths, lateness, how many fit into the steady window."""
    answered = [one for one in seen if one.error is None and not one.warmup]
    errors = [one.error for one in seen if one.error is not None]
    chunks = sum(one.chunks for one in answered)
    offered = window is not None and level.concurrency is None
    return Evidence(
        requests=len(answered),
        requests_planned=level.requests,
        errors=len(errors),
        first_error=errors[0] if errors else None,
        steady_s=window.seconds if window else None,
        mean_latencies=mean_latencies(window, metrics.latency_s.mean) if window and metrics.latency_s else None,
        in_flight=window.in_flight if window else None,
        offered_rate=(level.requests - 1) / window.seconds if window and offered else None,
        dispatch_delay_s=_mean([max(one.start_s - one.target_s, 0.0) for one in seen if not one.warmup]),
        prompt_tokens=_range([one.prompt_tokens for one in answered]),
        output_tokens=_range([one.output_tokens for one in answered]),
        tokens_per_chunk=sum(one.output_tokens for one in answered) / chunks if chunks else None,
        drift=drift(seen, window) if window and level.concurrency is not None else None,
        backlog_growth=_growth(seen, level, window),
        at_once=sum(map(in_one_piece, answered)) / len(answered) if answered else None,
    )


def _growth(seen: Sequence[Observation], level: LoadLevel, window: Steady | None) -> int | None:
    """Of arrivals at one rate: a ramp or a log may end higher than it began."""
    if window is None or level.rate is None or level.arrival_kind != "rate":
        return None
    return backlog_growth(seen, window, level.rate)


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _off(asked_and_counted: Iterable[tuple[int, int]], tolerance: Callable[[int], float]) -> LengthsOff | None:
    """The requests of which the server counted a length further from what was asked for than the tolerance of that."""
    off = [(asked, counted) for asked, counted in asked_and_counted if abs(asked - counted) > tolerance(asked)]
    return LengthsOff(requests=len(off), asked=off[0][0], counted=off[0][1]) if off else None


def _range(values: Sequence[int]) -> tuple[int, int] | None:
    return (min(values), max(values)) if values else None
