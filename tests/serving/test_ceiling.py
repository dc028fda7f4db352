"""The load client's ceiling, against a server that computes nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from whichbits.api.doctor import doctor
from whichbits.schema.serve import ClientCeiling
from whichbits.serving import ceiling, null_server
from whichbits.serving.ceiling import client_ceiling


def test_streams_of_fifty_tokens_a_second() -> None:
    assert ClientCeiling(tokens_per_second=10_000, cores=2).streams == 200


def test_the_ceiling_is_what_eighty_percent_of_a_core_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four streams of a second: about 200 tokens each second, for a few hundredths of a core."""
    monkeypatch.setattr(ceiling, "STREAMS", 4)
    monkeypatch.setattr(ceiling, "EACH", 1)
    found = client_ceiling()
    assert found is not None
    assert found.cores == len(os.sched_getaffinity(0))
    assert 500 < found.tokens_per_second < 1_000_000


def test_doctor_says_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for streams, status in ((20, "warn"), (200, "ok")):
        monkeypatch.setattr(
            ceiling, "client_ceiling", lambda streams=streams: ClientCeiling(tokens_per_second=50.0 * streams, cores=2)
        )
        (check,) = [check for check in doctor() if check.name == "load client"]
        assert (check.status, f"{streams} streams" in check.detail) == (status, True)
        assert bool(check.remedy) == (status == "warn")


def test_the_null_server_ends_with_who_started_it_and_imports_nothing_that_lies_about(tmp_path: Path) -> None:
    (tmp_path / "asyncio.py").write_text("raise SystemExit(7)\n")
    command = [sys.executable, "-I", "-S", null_server.__file__]
    with subprocess.Popen(command, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None and server.stdin is not None
        assert int(server.stdout.readline()) > 0
        server.stdin.close()
        assert server.wait(timeout=10) == 0
