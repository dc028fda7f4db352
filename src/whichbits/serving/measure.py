"""Measure a served checkpoint under a workload: its load levels one after the other, each judged."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from whichbits.engines.errors import EngineError
from whichbits.engines.http.access import OPEN, Access
from whichbits.engines.http.connection import Connection
from whichbits.engines.http.identity import Snapshot, changed, reach, snapshot
from whichbits.schema.serve import CapacityRun
from whichbits.schema.workload import Workload
from whichbits.serving.capacity import capacity_levels, capacity_run
from whichbits.serving.evidence import evidence_of
from whichbits.serving.machine import energy_between, idle_watts, reading, throttled_between, with_energy
from whichbits.serving.metrics.registry import all_metrics
from whichbits.serving.opening import OnAbilities, ask_once, pinned
from whichbits.serving.result import LoadLevelResult, metrics_of, rows_of
from whichbits.serving.saturation import saturated
from whichbits.serving.steady import steady
from whichbits.serving.traffic.random_prompts import ordinary_tokens
from whichbits.serving.traffic.resolve import content_of, recorded
from whichbits.serving.traffic.text_prompts import TextContent, texts_of
from whichbits.serving.validity import judge
from whichbits.serving.workload import LoadLevel, at_concurrency, open_loads

if TYPE_CHECKING:
    from whichbits.serving.load import Requests

Progress = Callable[[str, int, int], None]
"""Hears a load level's name, how many of its requests have ended, and how many it has, warm-up included."""

HIGHEST_CONCURRENCY = 1024
"""Where an `auto` sweep ends if throughput has not stopped growing."""


def measure(
    url: str,
    model: str | None,
    tokenizer: Path,
    workload: Workload,
    *,
    seed: int,
    cpus: set[int] | None = None,
    access: Access = OPEN,
    trust_remote_code: bool = False,
    at_least: int = 0,
    earlier: Sequence[CapacityRun] = (),
    on_abilities: OnAbilities = lambda found: None,
    on_progress: Progress = lambda level, done, total: None,
) -> list[LoadLevelResult]:
    """Put `workload` on the OpenAI-compatible server at `url` and measure each of its load levels.

    `url`, `model` and `access` are those of a `Connection`; model None stands for the only one that the server lists.
    `tokenizer` is a folder with its tokenizer.json. Prompts are a function of
    (`seed`, load level, request): give each round of a session a seed of its own and all candidates of a round the same.
    `cpus` are the cores the client may use; by default those of this process. An `auto` sweep does not end below `at_least`.
    `earlier` are runs of rounds before this one that looked for the capacity. `on_abilities` hears before any load how requests
    are made.
    Raises UserError where the server does not answer or lacks the model, EngineError where it is not the one at the end of a
    load level that it was at the beginning of the first; a load level that went wrong otherwise is returned as invalid.
    """
    from whichbits.serving.load import Requests

    connection = reach(Connection(url, model, access))
    vocabulary = ordinary_tokens(tokenizer)
    content = content_of(workload, vocabulary, tokenizer, seed, trust_remote_code=trust_remote_code)
    arriving = open_loads(workload, recorded(workload))
    on_abilities(abilities := ask_once(connection))
    if not abilities.token_ids:
        content = TextContent(content, texts_of(tokenizer, trust_remote_code=trust_remote_code))
    results: list[LoadLevelResult] = []
    first, idle = snapshot(connection), idle_watts(connection.url)
    with pinned(cpus) as allowed:
        for level in chain(_closed_loops(workload, results, at_least), arriving, capacity_levels(workload, results, earlier)):
            requests = Requests(connection, level, content, level.arrival_seed(seed), abilities)
            results.append(_measure_load_level(requests, first, workload, allowed, idle, on_progress))
            if _refuses(results[-1]):
                break
    return results


def no_answer(results: Sequence[LoadLevelResult]) -> str | None:
    """What the server said, where it has answered no request of any load; None where it has answered some."""
    if any(one.evidence.requests for one in results):
        return None
    planned = sum(one.evidence.requests_planned for one in results)
    words = next((one.evidence.first_error for one in results if one.evidence.first_error), "nothing")
    return f"the server answered none of {planned} requests: {words}"


def _refuses(last: LoadLevelResult) -> bool:
    """Whether most requests of a load failed, so that a higher one tells nothing."""
    return last.evidence.errors > last.evidence.requests


def _closed_loops(workload: Workload, results: Sequence[LoadLevelResult], at_least: int) -> Iterator[LoadLevel]:
    """Requests kept in flight, in order of load; an `auto` sweep looks at the `results` so far to know where to end.

    It ends where throughput stops growing, but not below `at_least`, and at a load that gave none.
    """
    if workload.synchronous:
        yield at_concurrency(workload, 1)
    if workload.concurrency == "auto":
        concurrency = 2 if workload.synchronous else 1
        while concurrency <= HIGHEST_CONCURRENCY and _goes_on(concurrency, results, at_least):
            yield at_concurrency(workload, concurrency)
            concurrency *= 2
    else:
        for concurrency in workload.concurrency:
            yield at_concurrency(workload, concurrency)


def _goes_on(concurrency: int, results: Sequence[LoadLevelResult], at_least: int) -> bool:
    rates = [one.metrics.requests_per_second or 0.0 for one in results]
    return 0.0 not in rates and (concurrency <= at_least or not saturated(rates))


def _measure_load_level(
    requests: Requests,
    first: Snapshot,
    workload: Workload,
    cpus: frozenset[int],
    idle: float | None,
    on_progress: Progress,
) -> LoadLevelResult:
    from whichbits.serving.load import drive

    connection, level = requests.connection, requests.level
    before, began = snapshot(connection), reading()
    load = asyncio.run(drive(requests, on_done=lambda done: on_progress(level.name, done, requests.total)))
    ended, after = reading(), snapshot(connection)
    if how := changed(first, after):
        raise EngineError(f"the server at {connection.url} has changed meanwhile ({level.name}): {how}")

    measured = all_metrics()
    rows = rows_of(load.observations, measured)
    window = steady(load.observations, level)
    energy = energy_between(began, ended, idle)
    metrics = with_energy(metrics_of(load.observations, measured, window), energy, load.observations)
    evidence = evidence_of(load, level, metrics, window, before, after, len(cpus))
    evidence = evidence.model_copy(update={"throttled": throttled_between(began, ended), "energy": energy})
    reasons = judge(evidence, metrics, level, workload)
    result = LoadLevelResult(
        load_level=level.name, concurrency=level.concurrency, rate=level.rate, arrivals=level.arrival_kind,
        valid=not reasons, reasons=reasons, metrics=metrics, evidence=evidence, rows=rows,
    )  # fmt: skip
    if not level.seeks_capacity:
        return result
    return result.model_copy(update={"capacity_run": capacity_run(result, level, workload)})
