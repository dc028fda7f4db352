"""Regular expressions that somebody else wrote, or that meet somebody else's text: Python's `re` with a time limit.

Python's matcher backtracks: `(a+)+$` on forty letters takes longer than the universe has existed, and nothing in this process
could end it. So the matching is done by `regex_worker.py` in a process of its own, which the kernel ends. The limit counts CPU
time, so that a busy machine changes no answer.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import Any, Literal

from whichbits.core import regex_worker

LIMIT_S = 2.0
"""Seconds of CPU time for one question: a pattern on one text, or on a list of them."""

MEMORY_BYTES = 1 << 30

Method = Literal["search", "match", "fullmatch"]


class RegexError(ValueError):
    """Not a regular expression; the message says why."""


class RegexTimeout(Exception):
    """A pattern took longer than it may."""

    def __init__(self, pattern: str, seconds: float) -> None:
        super().__init__(f"{pattern!r:.200} took more than {seconds:g} s")
        self.pattern = pattern
        self.seconds = seconds

    def __reduce__(self) -> tuple[object, ...]:
        return RegexTimeout, (self.pattern, self.seconds)


def check(pattern: str) -> None:
    """Raise RegexError where the pattern is no regular expression."""
    _ask("search", pattern, [], LIMIT_S)


def found(method: Method, pattern: str, texts: Sequence[str], *, seconds: float = LIMIT_S) -> list[bool]:
    """Whether `re.search`, `re.match` or `re.fullmatch` finds the pattern, for each text.

    Raises RegexError, and RegexTimeout where all texts together take more than `seconds`.
    """
    return [bool(one) for one in _ask(method, pattern, texts, seconds)]


def findall(pattern: str, text: str, *, seconds: float = LIMIT_S) -> list[str] | list[tuple[str, ...]]:
    """`re.findall`: texts, or tuples of texts where the pattern has groups. Raises as `found` does."""
    return [tuple(one) if isinstance(one, list) else one for one in _ask("findall", pattern, [text], seconds)[0]]


def _ask(method: str, pattern: str, texts: Sequence[str], seconds: float) -> list[Any]:
    order = {"method": method, "pattern": pattern, "texts": list(texts), "seconds": seconds}
    with _LOCK:
        for _ in range(2):
            answer = _worker().ask(json.dumps(order))
            if answer is not None:
                break
        else:
            raise RuntimeError("the process that matches regular expressions was killed twice")
    if "timeout" in answer:
        raise RegexTimeout(pattern, seconds)
    if "error" in answer:
        raise RegexError(answer["error"])
    said: list[Any] = answer["found"]
    return said


class _Worker:
    """The process that matches, for the process with the id `owner`."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", regex_worker.__file__, str(self.owner), str(MEMORY_BYTES)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env={},
            text=True,
            encoding="utf-8",
        )

    def ask(self, line: str) -> dict[str, Any] | None:
        """Its answer; None where it has been killed by somebody, {"timeout": ...} where its time was up."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
        said = self.process.stdout.readline()
        if said.endswith("\n"):
            answer: dict[str, Any] = json.loads(said)
            return answer
        return {"timeout": True} if self.process.wait() == -signal.SIGPROF else None


_LOCK = threading.Lock()
_WORKERS: list[_Worker] = []


def _worker() -> _Worker:
    """The worker of this process: a process that was forked needs its own, and one that has ended is replaced."""
    if not _WORKERS or _WORKERS[0].owner != os.getpid() or _WORKERS[0].process.poll() is not None:
        _WORKERS[:] = [_Worker()]
    return _WORKERS[0]
