"""Faults put into measurements of a small server with known delays: each is found, and by the check that is meant for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from whichbits.serving.measure import measure
from whichbits.serving.result import LoadLevelResult
from whichbits.serving.workload import parse_workload

FIELDS = {"name": "fault", "prompt_tokens": 16, "output_tokens": 8, "requests_per_stream": 8, "synchronous": False}
Start = Callable[..., str]


def measured(url: str, tokenizer: Path, **fields: Any) -> LoadLevelResult:
    (found,) = measure(url, "m", tokenizer, parse_workload({**FIELDS, "concurrency": [4], **fields}), seed=1)
    return found


def reasons(found: LoadLevelResult) -> str:
    return "; ".join(found.reasons)


@pytest.fixture
def hogs() -> Iterator[Callable[[int], None]]:
    """Processes that compute on one core."""
    running: list[subprocess.Popen[bytes]] = []

    def start(core: int) -> None:
        code = f"import os; os.sched_setaffinity(0, {{{core}}})\nwhile True: pass"
        running.extend(subprocess.Popen([sys.executable, "-c", code]) for _ in range(6))

    yield start
    for process in running:
        process.kill()
        process.wait()


def test_a_client_starved_of_its_core(start_engine: Start, word_tokenizer: Path, hogs: Callable[[int], None]) -> None:
    url, core = start_engine(ttft=0.01, itl=0.004), min(os.sched_getaffinity(0))
    hogs(core)
    time.sleep(0.3)
    workload = parse_workload({**FIELDS, "concurrency": [32], "output_tokens": 16})
    (found,) = measure(url, "m", word_tokenizer, workload, seed=1, cpus={core})
    assert not found.valid
    assert "client saturated" in reasons(found)


def test_half_of_the_outputs_cut_short(start_engine: Start, word_tokenizer: Path) -> None:
    found = measured(start_engine(ttft=0.01, itl=0.002, stop_every=2), word_tokenizer)
    assert found.evidence.outputs_off is not None
    assert found.evidence.outputs_off.requests == pytest.approx(16, abs=2)
    assert "output lengths off" in reasons(found)


def test_a_prefix_cache_left_on(start_engine: Start, word_tokenizer: Path) -> None:
    assert "prefix cache hit" in reasons(measured(start_engine(ttft=0.01, itl=0.002, cached=0.5), word_tokenizer))


def test_another_client_on_the_server(start_engine: Start, word_tokenizer: Path) -> None:
    url, ended = start_engine(ttft=0.02, itl=0.005), threading.Event()

    def other() -> None:
        body = json.dumps({"prompt": [1] * 16, "max_tokens": 8}).encode()
        while not ended.is_set():
            urllib.request.urlopen(urllib.request.Request(f"{url}/v1/completions", data=body)).read()

    intruder = threading.Thread(target=other)
    intruder.start()
    try:
        found = measured(url, word_tokenizer)
    finally:
        ended.set()
        intruder.join()
    assert "server not alone" in reasons(found)


def test_a_server_that_is_started_again(start_engine: Start, word_tokenizer: Path) -> None:
    """Its counters begin anew in mid-run, as those of a process that was started again behind a proxy."""
    found = measured(start_engine(ttft=0.01, itl=0.002, restart_after=20), word_tokenizer)
    assert found.evidence.tokens_missing == pytest.approx(0.5, abs=0.15)
    assert "server started anew" in reasons(found)


def test_a_clock_that_is_set_in_mid_run(start_engine: Start, word_tokenizer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, ended = time.time, 0

    def progress(level: str, done: int, total: int) -> None:
        nonlocal ended
        ended = done

    monkeypatch.setattr(time, "time", lambda: real() + (0.05 if ended > 10 else 0.0))
    workload = parse_workload({**FIELDS, "concurrency": [4]})
    url = start_engine(ttft=0.01, itl=0.002)
    (found,) = measure(url, "m", word_tokenizer, workload, seed=1, on_progress=progress)
    assert "clock stepped by 50" in reasons(found)


def test_a_server_that_slows_down(start_engine: Start, word_tokenizer: Path) -> None:
    """Each request's first token comes 3 % of 50 ms later than that of the request before it."""
    found = measured(start_engine(ttft=0.05, itl=0.002, slowing=0.03), word_tokenizer, requests_per_stream=12)
    assert found.evidence.drift is not None
    assert found.evidence.drift > 0.1
    assert "still drifting" in reasons(found)


def test_preemptions_are_told_and_no_fault(start_engine: Start, word_tokenizer: Path) -> None:
    found = measured(start_engine(ttft=0.01, itl=0.002, preempt_every=10), word_tokenizer)
    assert found.evidence.preemptions == 3
    assert "preempt" not in reasons(found)


def test_a_stall_of_the_server_is_in_both_latencies(start_engine: Start, word_tokenizer: Path) -> None:
    """0.4 s in every 2 s under open load. Requests are sent all the same, so both forms of the latency have it."""
    url = start_engine(ttft=0.01, itl=0.002, stall_every=2.0, stall=0.4)
    workload = {"concurrency": [], "rate": 40.0, "rate_requests": 140, "burstiness": "constant"}
    found = measured(url, word_tokenizer, **workload)
    due, sent = found.metrics.percentile("due_latency_s", "95"), found.metrics.percentile("latency_s", "95")
    assert due is not None and sent is not None
    assert min(due, sent) > 0.15


def test_a_stall_of_the_client_is_in_the_latency_from_due_alone(
    start_engine: Start, word_tokenizer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """0.4 s in every 2 s in which nothing is sent: the coordinated omission that a latency from sending hides."""
    from whichbits.serving import load

    began, sending = time.perf_counter(), load.send

    async def stalling(*arguments: Any, **options: Any) -> Any:
        if (time.perf_counter() - began) % 2.0 > 1.6:
            time.sleep(2.0 - (time.perf_counter() - began) % 2.0)
        return await sending(*arguments, **options)

    monkeypatch.setattr(load, "send", stalling)
    workload = {"concurrency": [], "rate": 40.0, "rate_requests": 140, "burstiness": "constant"}
    found = measured(start_engine(ttft=0.01, itl=0.002), word_tokenizer, **workload)
    due, sent = found.metrics.percentile("due_latency_s", "95"), found.metrics.percentile("latency_s", "95")
    assert due is not None and sent is not None
    assert due - sent > 0.15
    assert "client saturated" in reasons(found)
