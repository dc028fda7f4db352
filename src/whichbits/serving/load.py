"""One rung of load, sent by GuideLLM's worker processes."""

from __future__ import annotations

import math
import multiprocessing
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psutil

from whichbits.serving.observation import Observation
from whichbits.serving.workload import Rung

STREAMS_PER_WORKER = 16
"""Streams that one asyncio worker process is given."""

START_DELAY_S = 0.1
"""From the workers' readiness to the first request."""

ENDS = ("completed", "errored", "cancelled")
"""GuideLLM's states of a request that has ended."""

LAST_UPDATES_S = 10.0
"""How long to wait for updates that are on their way when GuideLLM's stream of them ends."""


@dataclass(frozen=True)
class Load:
    """What the client saw of a rung, and what that cost the client."""

    observations: tuple[Observation, ...]
    client_cpu: float
    """Cores' worth of CPU time that the client's processes used per second of the rung, together."""
    busiest_cpu: float
    """The same of its busiest process."""
    clock_step_s: float
    """By how much the wall clock, which GuideLLM stamps with, moved against the monotonic one."""


async def drive(backend: Any, rung: Rung, *, seed: int, workers: int, on_done: Callable[[int], None]) -> Load:
    """Send a rung's warm-up and measured requests through `backend` (a GuideLLM backend) and watch them.

    `on_done` hears the number of finished requests, warm-up included. Raises RuntimeError if a worker dies.
    """
    total = rung.warmup + rung.requests
    ended: list[tuple[Any, Any]] = []
    usage: dict[int, float] = {}
    at_first: dict[int, float] = {}
    began = clock = 0.0
    with _guidellm_settings(workers):
        async for response, _, info, _ in _updates(backend, _strategy(rung, total, seed), total):
            if not began and info.status == "in_progress":
                began, clock, at_first = time.monotonic(), time.time() - time.monotonic(), _cpu_seconds()
            if info.status in ENDS:
                ended.append((response, info))
                usage, elapsed = _cpu_seconds(), time.monotonic() - began
                on_done(len(ended))
    step = time.time() - time.monotonic() - clock
    shares = [(seconds - at_first.get(pid, 0.0)) / elapsed for pid, seconds in usage.items()]
    return Load(_observations(ended, rung), client_cpu=sum(shares), busiest_cpu=max(shares), clock_step_s=step)


async def _updates(backend: Any, strategy: Any, total: int) -> AsyncIterator[Any]:
    """GuideLLM's updates of `total` requests, every last one of them.

    This is `Scheduler.run` of GuideLLM but for its end: the event that closes the group's stream is set before the last
    update is handed over, so a stream that looks at the event just then closes without it.
    """
    from guidellm.scheduler import WorkerProcessGroup

    group: Any = WorkerProcessGroup(requests=[_graph(index) for index in range(total)], backend=backend, strategy=strategy)
    missing = total
    try:
        await group.create_processes()
        await group.start(time.time() + START_DELAY_S)
        async for update in group.request_updates():
            missing -= update[2].status in ENDS
            yield update
        while missing > 0:
            update = await group.messaging.get(timeout=LAST_UPDATES_S)
            missing -= update[2].status in ENDS
            yield update
    except TimeoutError:
        raise RuntimeError(f"GuideLLM's workers ended without a word of {missing} of {total} requests") from None
    finally:
        await group.shutdown()


def _graph(index: int) -> Any:
    """GuideLLM's wrapping of a single request; its id is the index that the prompt is drawn from."""
    from guidellm.scheduler.schemas.conversation_graph import GenerativeConversationGraph, GenerativeConversationNode
    from guidellm.schemas import GenerationRequest

    node = GenerativeConversationNode(node_id="0", agent_id="0", request=GenerationRequest(request_id=str(index)))
    return GenerativeConversationGraph(graph_id=str(index), nodes={"0": node})


def _strategy(rung: Rung, total: int, seed: int) -> Any:
    from guidellm.scheduler import AsyncPoissonStrategy, ConcurrentStrategy

    if rung.concurrency is None:
        return AsyncPoissonStrategy(rate=rung.rate, max_concurrency=total, random_seed=seed)
    return ConcurrentStrategy(streams=rung.concurrency)


def workers_for(rung: Rung, cpus: int) -> int:
    """Worker processes of the client: one for each 16 streams, at most one a core; one alone keeps Poisson gaps Poisson."""
    if rung.concurrency is None:
        return 1
    return min(math.ceil(rung.concurrency / STREAMS_PER_WORKER), cpus)


@contextmanager
def _guidellm_settings(workers: int) -> Iterator[None]:
    """GuideLLM's settings for this run: workers forked from a server that has imported everything, no console log."""
    from guidellm.logger import configure_logger
    from guidellm.settings import LoggingSettings, settings

    multiprocessing.set_forkserver_preload(["whichbits.serving.fork_server"])
    configure_logger(LoggingSettings(console_log_level=None))
    ours = {"mp_context_type": "forkserver", "max_worker_processes": workers}
    before = {name: getattr(settings, name) for name in ours}
    try:
        for name, value in ours.items():
            setattr(settings, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(settings, name, value)


def _cpu_seconds() -> dict[int, float]:
    """CPU time used so far by this process and its descendants, by pid."""
    used: dict[int, float] = {}
    here = psutil.Process()
    for process in (here, *here.children(recursive=True)):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        used[process.pid] = times.user + times.system
    return used


def _observations(ended: list[tuple[Any, Any]], rung: Rung) -> tuple[Observation, ...]:
    """Requests in the order of their starts; the first `rung.warmup` of them are the warm-up."""
    started = sorted(ended, key=lambda pair: pair[1].started_at or math.inf)
    zero = started[0][1].started_at
    if zero is None:
        raise RuntimeError(f"no request of rung '{rung.name}' was sent: {started[0][1].error}")
    return tuple(_observation(response, info, zero, place < rung.warmup) for place, (response, info) in enumerate(started))


def _observation(response: Any, info: Any, zero: float, warmup: bool) -> Observation:
    timings = info.timings
    seen = (response.response_metrics if response is not None else None) or {"gaps_s": (), "chunks": 0}
    start = info.started_at if info.started_at is not None else info.completed_at
    return Observation(
        request=int(info.request_id),
        warmup=warmup,
        target_s=(timings.targeted_start or start) - zero,
        start_s=start - zero,
        first_token_s=_since(zero, timings.first_token_iteration),
        last_token_s=_since(zero, timings.last_token_iteration),
        end_s=info.completed_at - zero,
        prompt_tokens=(response.input_metrics.text_tokens or 0) if response is not None else 0,
        output_tokens=(response.output_metrics.text_tokens or 0) if response is not None else 0,
        chunks=seen["chunks"],
        gaps_s=tuple(seen["gaps_s"]),
        error=info.error if info.status != "completed" else None,
    )


def _since(zero: float, stamp: float | None) -> float | None:
    return None if stamp is None else stamp - zero
