"""Code of others in a process of its own: it ends in time, takes no more memory than it may, and is replaced."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from whichbits.core.limited import Limited, OutOfTime

PROGRAM = """
import os

def answer(what):
    if what == "loop":
        while True:
            pass
    if what == "swallow":
        while True:
            try:
                while True:
                    pass
            except BaseException:
                pass
    if what == "power":
        return {"said": 9 ** (9 ** 9) % 2}
    if what == "memory":
        return {"said": len("a" * 20_000_000_000)}
    return {"said": what, "environment": sorted(os.environ), "folder": os.getcwd()}
"""


@pytest.fixture
def limited(tmp_path: Path) -> Limited:
    file = tmp_path / "program.py"
    file.write_text(PROGRAM, encoding="utf-8")
    return Limited(file)


@pytest.mark.parametrize("what", ["loop", "swallow", "power"])
def test_what_does_not_end_is_ended(what: str, limited: Limited):
    began, first = time.monotonic(), limited.pid
    with pytest.raises(OutOfTime):
        limited.ask(0.1, what=what)
    assert time.monotonic() - began < 10
    assert limited.ask(0.1, what="x")["said"] == "x"
    assert limited.pid != first


def test_memory_is_limited_and_the_process_stays(limited: Limited):
    first = limited.pid
    assert limited.ask(5, what="memory") == {"error": "it takes more memory than it may"}
    assert limited.pid == first


def test_it_sees_nothing_of_ours(limited: Limited, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_TOKEN", "secret")
    seen = limited.ask(1, what="x")
    assert "HF_TOKEN" not in seen["environment"]
    assert seen["folder"] == "/"


def test_what_is_killed_is_replaced_and_what_cannot_start_is_told(limited: Limited, tmp_path: Path):
    os.kill(limited.pid, signal.SIGKILL)
    assert limited.ask(1, what="x")["said"] == "x"
    with pytest.raises(RuntimeError, match=r"missing\.py was killed twice"):
        Limited(tmp_path / "missing.py").ask(1)
