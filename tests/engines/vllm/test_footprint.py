"""What a server takes, of records and processes that are here."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from whichbits.core.processes import machine_identity, start_time
from whichbits.engines.http.connection import Connection
from whichbits.engines.vllm import server_records as records
from whichbits.engines.vllm.footprint import footprint, kv_cache_tokens

METRICS = 'vllm:cache_config_info{block_size="128",cache_dtype="auto",engine="0",num_gpu_blocks="455"} 1.0\n'


@pytest.fixture
def session() -> Iterator[int]:
    """Leader of a session of two processes, the second of which holds 50 MB."""
    hold = "import sys; held = bytearray(50_000_000); print(1, flush=True); sys.stdin.read()"
    start = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {hold!r}])"
    process = subprocess.Popen(
        [sys.executable, "-c", start], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    yield process.pid
    process.communicate()


def record(registry: Path, pid: int, port: int) -> Path:
    began = start_time(pid) or 0
    return records.record(registry, records.ServerRecord(pid, began, os.getpid(), 1, machine_identity(), port, "x"))


def test_tokens_of_the_cache() -> None:
    assert kv_cache_tokens(METRICS) == 455 * 128
    assert kv_cache_tokens(METRICS.replace("engine=", 'kv_cache_size_tokens="93184",engine=')) == 93184
    assert kv_cache_tokens(METRICS.replace("455", "None")) is None
    assert kv_cache_tokens("vllm:generation_tokens_total 3\n") is None


@pytest.mark.slow
def test_a_server_of_ours_says_its_start_and_memory(session: int, tmp_path: Path) -> None:
    found = record(tmp_path, session, 1)
    took = footprint(Connection("http://127.0.0.1:1"), tmp_path)
    assert took.start_s is None and took.kv_cache_tokens is None, "nobody answers at port 1"
    records.note_ready(found, 41.25)
    took = footprint(Connection("http://127.0.0.1:1"), tmp_path)
    assert took.start_s == 41.25
    assert took.peak_memory_bytes is not None and 50e6 < took.peak_memory_bytes < 200e6
    records.forget(found)
    assert list(tmp_path.iterdir()) == []


def test_another_server_says_neither(session: int, tmp_path: Path) -> None:
    records.note_ready(record(tmp_path, session, 2), 3.0)
    for url in ("http://127.0.0.1:1", "http://example.invalid:2"):
        assert footprint(Connection(url), tmp_path).start_s is None
