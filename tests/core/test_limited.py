"""Code of others in a process of its own: it ends in time, takes no more memory than it may, and is replaced."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from whichbits.core.limited import Limited, OutOfTime, Refused

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
            except BaseException:  # hostile code, which the limit ends all the same
                pass
    if what == "power":
        return 9 ** (9 ** 9) % 2
    if what == "memory":
        return len("a" * 20_000_000_000)
    if what == "error":
        raise ValueError("not this")
    return [what, sorted(os.environ), os.getcwd()]
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
        limited.ask(0.1, what)
    assert time.monotonic() - began < 10
    assert limited.ask(0.1, "x")[0] == "x"
    assert limited.pid != first


def test_memory_is_limited_and_the_process_stays(limited: Limited):
    first = limited.pid
    with pytest.raises(Refused, match="takes more memory than it may"):
        limited.ask(5, "memory")
    with pytest.raises(Refused, match="not this"):
        limited.ask(5, "error")
    assert limited.pid == first


def test_it_sees_nothing_of_ours(limited: Limited, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_TOKEN", "secret")
    _, environment, folder = limited.ask(1, "x")
    assert "HF_TOKEN" not in environment
    assert folder == "/"


def test_what_is_killed_is_replaced_and_what_cannot_start_is_told(limited: Limited, tmp_path: Path):
    os.kill(limited.pid, signal.SIGKILL)
    assert limited.ask(1, "x")[0] == "x"
    with pytest.raises(RuntimeError, match=r"missing\.py was killed twice"):
        Limited(tmp_path / "missing.py").ask(1)
