"""What the requests of a load level tell of its validity, whoever sent them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from whichbits.schema.serve import Evidence, Metrics
from whichbits.serving.observation import Observation, in_one_piece
from whichbits.serving.steady import Steady, mean_latencies
from whichbits.serving.workload import LoadLevel


def evidence_of(seen: Sequence[Observation], level: LoadLevel, metrics: Metrics, window: Steady | None) -> Evidence:
    """Counts, lengths and lateness of the requests, and how many fit into the steady window."""
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
        at_once=sum(map(in_one_piece, answered)) / len(answered) if answered else None,
    )


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _range(values: Sequence[int]) -> tuple[int, int] | None:
    return (min(values), max(values)) if values else None
