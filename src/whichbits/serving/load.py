"""One load, sent by an event loop of this process: a number of requests kept in flight, or arrivals at a rate."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from whichbits.engines.http.connection import Connection
from whichbits.schema.server_abilities import ServerAbilities
from whichbits.serving.client import Body, open_session, request_body, send
from whichbits.serving.observation import Observation
from whichbits.serving.traffic.content import Content
from whichbits.serving.workload import LoadLevel

START_DELAY_S = 0.1
"""From the start of the loop to the first request."""
TICK_S = 0.01
"""How often the loop's lateness is looked at."""
PREPARED_BYTES = 64 * 2**20
"""Most memory of requests that are ready to be sent."""


Send = Callable[[int, int, float], Awaitable[Observation]]
"""Sends, as the n-th request, the one of a number, which was due at a moment, and watches it."""


@dataclass(frozen=True)
class Load:
    """What the client saw of a load, and what that cost the client."""

    observations: tuple[Observation, ...]
    """In the order of their starts; the first ones are the warm-up."""
    client_cpu: float
    """Cores' worth of CPU time that the client's process used per second."""
    busiest_cpu: float
    """The same of the thread that sends and reads."""
    loop_lag_s: float
    """Mean lateness of a timer in the event loop: by as much are the times of what arrives late."""
    clock_step_s: float
    """By how much the wall clock moved against the monotonic one, which stamps everything."""
    abilities: ServerAbilities
    """By which its requests were made."""


@dataclass
class Requests:
    """The bodies of a load's requests, made ahead of their sending so that making them delays none."""

    connection: Connection
    level: LoadLevel
    content: Content
    seed: int
    """Of the arrivals."""
    abilities: ServerAbilities = field(default_factory=ServerAbilities)
    """What the server takes; of one that takes no token ids all content has texts."""
    _ready: dict[int, Body] = field(default_factory=dict, init=False)
    _sent_first: set[int] = field(default_factory=set, init=False)
    """Numbers of requests that were sent before they were made ahead."""
    _numbers: Iterator[int] = field(init=False)
    """Of the requests to make ahead, about in the order in which they are sent."""
    _bytes: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        level, streams = self.level, self.level.concurrency or 1
        self._numbers = (level.turn(k % streams, k // streams) if level.turns > 1 else k for k in range(self.total))

    @property
    def total(self) -> int:
        """Number of requests, warm-up included."""
        return self.level.warmup + self.level.requests

    def prepare(self, most: int | None = None) -> None:
        """Make the next bodies, `most` or as many as memory is for."""
        while self._bytes < PREPARED_BYTES and (most is None or most > 0):
            if (number := next(self._numbers, None)) is None:
                return
            if number in self._sent_first:
                continue
            self._ready[number] = self._make(number)
            self._bytes += len(self._ready[number].sent)
            most = None if most is None else most - 1

    def take(self, number: int) -> Body:
        """The body of a request."""
        body = self._ready.pop(number, None)
        if body is None:
            self._sent_first.add(number)
            return self._make(number)
        self._bytes -= len(body.sent)
        return body

    def _make(self, number: int) -> Body:
        return request_body(self.connection.model or "", self.content.request(self.level.name, number), self.abilities)


async def drive(requests: Requests, *, on_done: Callable[[int], None] = lambda done: None) -> Load:
    """Send a load's warm-up and measured requests, and watch them. `on_done` hears the number of finished requests."""
    requests.prepare()
    level = requests.level
    seen: list[Observation] = []
    lateness: list[float] = []
    with _no_collection():
        zero = time.perf_counter() + START_DELAY_S

        async with open_session(requests.connection) as session:

            async def one(index: int, number: int, target: float) -> Observation:
                body = requests.take(number)
                asyncio.get_running_loop().call_soon(requests.prepare, 1)
                done = await send(
                    session,
                    requests.connection,
                    body,
                    request=index,
                    warmup=index < level.warmup,
                    zero=zero,
                    target=target,
                )
                seen.append(done)
                on_done(len(seen))
                return done

            await _until(zero)
            wall, cpu, thread = time.time() - time.monotonic(), time.process_time(), time.thread_time()
            ticker = asyncio.create_task(_tick(lateness))
            if level.concurrency is not None:
                await _closed_loop(one, level, level.concurrency, requests.total, zero)
            else:
                await _open_loop(one, _arrivals(level, requests, zero))
            ticker.cancel()
            elapsed = time.perf_counter() - zero
    return Load(
        observations=tuple(sorted(seen, key=lambda found: (found.start_s, found.request))),
        client_cpu=(time.process_time() - cpu) / elapsed,
        busiest_cpu=(time.thread_time() - thread) / elapsed,
        loop_lag_s=float(np.mean(lateness)) if lateness else 0.0,
        clock_step_s=time.time() - time.monotonic() - wall,
        abilities=requests.abilities,
    )


async def _closed_loop(one: Send, level: LoadLevel, streams: int, total: int, zero: float) -> None:
    """Keep `streams` requests in flight until `total` are sent: each stream sends its next where its last has ended."""
    indices = iter(range(total))

    async def stream(number: int) -> None:
        due = zero
        for sent, index in enumerate(indices):
            due = zero + (await one(index, level.turn(number, sent) if level.turns > 1 else index, due)).end_s

    await asyncio.gather(*map(stream, range(streams)))


async def _open_loop(one: Send, arrivals: list[float]) -> None:
    """Send each request when it is due, whatever has become of the others."""
    under_way = []
    for index, due in enumerate(arrivals):
        await _until(due)
        under_way.append(asyncio.ensure_future(one(index, index, due)))
    await asyncio.gather(*under_way)


def _arrivals(level: LoadLevel, requests: Requests, zero: float) -> list[float]:
    """When the load's requests are due."""
    assert level.arrivals is not None
    due: list[float] = (zero + level.arrivals.times(requests.total, requests.seed)).tolist()
    return due


async def _until(moment: float) -> None:
    if (left := moment - time.perf_counter()) > 0:
        await asyncio.sleep(left)


async def _tick(lateness: list[float]) -> None:
    while True:
        began = time.perf_counter()
        await asyncio.sleep(TICK_S)
        lateness.append(max(0.0, time.perf_counter() - began - TICK_S))


@contextmanager
def _no_collection() -> Iterator[None]:
    """No garbage collection meanwhile: one of a process with large libraries in it takes tenths of a second."""
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
