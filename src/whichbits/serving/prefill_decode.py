"""Prefill and decode apart: batches of requests that are sent at once, of one token each or of some decode steps.

Prefill is the time from sending a batch to the last first token, of requests that ask for one token. A decode step is the
mean time between two tokens of a stream while the whole batch is in flight: from the last first token to the first end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from whichbits.engines.errors import EngineError
from whichbits.engines.http.access import OPEN, Access
from whichbits.engines.http.connection import Connection
from whichbits.engines.http.identity import Snapshot, changed, reach, snapshot
from whichbits.schema.prefill_decode import MeasuredBatches, Point, PrefillDecode
from whichbits.schema.serve import Metrics
from whichbits.serving.distribution import distribution
from whichbits.serving.evidence import evidence_of
from whichbits.serving.observation import Observation
from whichbits.serving.opening import OnAbilities, ask_once, pinned
from whichbits.serving.traffic.content import RandomContent
from whichbits.serving.traffic.random_prompts import ordinary_tokens
from whichbits.serving.traffic.text_prompts import TextContent, texts_of
from whichbits.serving.validity import judge_requests
from whichbits.serving.workload import LoadLevel

if TYPE_CHECKING:
    from whichbits.serving.load import Load

UNANSWERED = "not every request of a batch was answered"

Progress = Callable[[Point], None]
"""Hears what is measured next."""


def measure_batches(
    url: str,
    model: str | None,
    tokenizer: Path,
    batches: PrefillDecode,
    *,
    seed: int,
    cpus: set[int] | None = None,
    access: Access = OPEN,
    trust_remote_code: bool = False,
    on_abilities: OnAbilities = lambda found: None,
    on_progress: Progress = lambda point: None,
) -> list[MeasuredBatches]:
    """Measure the server at `url` with batches of every size and length, whose lengths are settled.

    The other arguments, and what is raised, are those of `measure`. Prompts are random, and a function of (`seed`, point,
    batch, request). What went wrong with a point is among its reasons.
    """
    from whichbits.serving.load import Requests, drive

    connection = reach(Connection(url, model, access))
    vocabulary = ordinary_tokens(tokenizer)
    on_abilities(abilities := ask_once(connection))
    texts = None if abilities.token_ids else texts_of(tokenizer, trust_remote_code=trust_remote_code)
    measured: list[MeasuredBatches] = []
    with pinned(cpus) as allowed:
        first = before = snapshot(connection)
        for point in batches.points():
            on_progress(point)
            random = RandomContent(vocabulary, *batches.lengths(point), seed)
            content = random if texts is None else TextContent(random, texts)
            loads = [
                asyncio.run(drive(Requests(connection, _level(point, number), content, seed, abilities)))
                for number in range(batches.repeats + 1)
            ]
            after = snapshot(connection)
            if how := changed(first, after):
                raise EngineError(f"the server at {connection.url} has changed meanwhile ({_level(point, 0).name}): {how}")
            measured.append(_judged(point, batches, loads, (before, after), len(allowed)))
            before = after
    return measured


def _level(point: Point, number: int) -> LoadLevel:
    """The batch of that number; the first is the warm-up."""
    size = point.batch_size
    name = f"{point.phase} of {size} at {point.tokens} tokens, batch {number}"
    return LoadLevel(name, size, None, warmup=0 if number else size, requests=size if number else 0)


def _judged(
    point: Point, batches: PrefillDecode, loads: Sequence[Load], readings: tuple[Snapshot, Snapshot], cpus: int
) -> MeasuredBatches:
    """The times of the batches after the warm-up, and whether they are valid."""
    reasons: list[str] = []
    seconds: list[float] = []
    for load in loads[1:]:
        seen = load.observations
        found = prefill_seconds(seen) if point.phase == "prefill" else step_seconds(seen, batches.steps)
        if isinstance(found, str):
            reasons.append(found)
        else:
            seconds.append(found)
    together = _together(loads)
    size = point.batch_size
    level = LoadLevel("", size, None, warmup=size, requests=size * batches.repeats)
    answered = [one for one in together.observations if one.answered and not one.warmup]
    metrics = Metrics(
        requests_per_second=None,
        output_tokens_per_second=None,
        ttft_s=distribution([(one.first_token_s or 0.0) - one.start_s for one in answered]),
        latency_s=distribution([one.end_s - one.start_s for one in answered]),
    )
    judged = judge_requests(evidence_of(together, level, metrics, None, *readings, cpus), metrics)
    reasons = [*judged, *dict.fromkeys(reasons)]
    return MeasuredBatches(
        **point.model_dump(),
        seconds=tuple(seconds),
        valid=not reasons,
        reasons=tuple(reasons),
        abilities=together.abilities,
    )


def prefill_seconds(seen: Sequence[Observation]) -> float | str:
    """From sending a batch to its last first token; or why that is not known."""
    if not all(one.answered for one in seen):
        return UNANSWERED
    return float(max(_arrivals(one)[0] for one in seen)) - min(one.start_s for one in seen)


def step_seconds(seen: Sequence[Observation], wanted: int) -> float | str:
    """Mean time of a decode step with the whole batch in flight; or why there is none.

    At least half the steps that are `wanted` must lie between the last first token and the first end of a stream.
    """
    if not all(one.answered for one in seen):
        return UNANSWERED
    streams = [_arrivals(one) for one in seen]
    begin, end = max(times[0] for times in streams), min(times[-1] for times in streams)
    inside = [times[(times >= begin) & (times <= end)] for times in streams]
    fewest = max(min(map(len, inside)) - 1, 0)
    if fewest < wanted / 2:
        return f"{fewest} decode steps with the whole batch in flight, of {wanted}: the server takes fewer requests at once"
    return fmean(float(times[-1] - times[0]) / (len(times) - 1) for times in inside)


def _arrivals(one: Observation) -> NDArray[np.float64]:
    """When the chunks of an answered request arrived, shape [chunks]."""
    arrived: NDArray[np.float64] = (one.first_token_s or 0.0) + np.concatenate([[0.0], np.cumsum(one.gaps_s)])
    return arrived


def _together(loads: Sequence[Load]) -> Load:
    """Several batches as one load."""
    from whichbits.serving.load import Load

    return Load(
        observations=tuple(one for load in loads for one in load.observations),
        client_cpu=max(load.client_cpu for load in loads),
        busiest_cpu=max(load.busiest_cpu for load in loads),
        loop_lag_s=fmean(load.loop_lag_s for load in loads),
        clock_step_s=max((load.clock_step_s for load in loads), key=abs),
        abilities=loads[0].abilities,
    )
