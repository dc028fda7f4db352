"""Run a generated program against tests, confined."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from whichbits.accuracy.sandbox.confine import LANDLOCK, NAMESPACES
from whichbits.accuracy.sandbox.libraries import library

COMMAND = "import sys; sys.path.append(sys.argv[1]); from sandbox.child import main; sys.path.pop(); main()"
START_SECONDS = 30.0


class SandboxUnavailable(Exception):
    """This machine offers no way to confine a program; the message says what was tried."""


@dataclass(frozen=True)
class Outcome:
    """Whether a program passed its tests, and why not."""

    passed: bool
    reason: str | None


@dataclass(frozen=True)
class Sandbox:
    """A way to confine programs that works on this machine, with the limits of each program."""

    mode: str
    """`namespaces` (user, mount, PID, network, IPC) or `landlock`; both with seccomp and resource limits."""
    memory_bytes: int = 1 << 30
    cpu_seconds: int = 5
    wall_seconds: float = 20.0

    def run(self, program: str, *, prelude: str, test: str, entry_point: str) -> Outcome:
        """Whether `program` passes: `test` defines `check(function)`, which asserts on what `entry_point` returns.

        The program runs in one confined process and the test in another, which calls the program's function over a socket with
        values of plain types (None, numbers, texts, bytes, lists, tuples, sets, dictionaries, ranges, iterators; numbers of
        numpy become Python's). The program holds nothing that could report a verdict. `prelude` defines what the test needs
        beside the function. The standard library and numpy can be imported.
        """
        ours, theirs = socket.socketpair()
        with ours, theirs:
            judge = self._start("judge", ours, prelude=prelude, test=test, entry_point=entry_point)
            candidate = self._start("candidate", theirs, program=program)
        try:
            for process in (judge, candidate):
                status = _line(process, time.monotonic() + START_SECONDS)
                if status != "ready":
                    raise SandboxUnavailable(status or "the confined process did not start")
            found = _line(judge, time.monotonic() + self.wall_seconds)
        finally:
            for process in (judge, candidate):
                process.kill()
                process.communicate()
        if found is None:
            return Outcome(passed=False, reason=f"no answer within {self.cpu_seconds} s of CPU, {self.wall_seconds:g} s in all")
        return Outcome(**json.loads(found))

    def _start(self, role: str, channel: socket.socket, **texts: str) -> subprocess.Popen[str]:
        order = {
            "role": role,
            "mode": self.mode,
            "memory_bytes": self.memory_bytes,
            "cpu_seconds": self.cpu_seconds,
            "parent": os.getpid(),
            "libraries": library(),
        }
        # Without site-packages, the user's environment or the working directory; hashing as in every other run.
        process = subprocess.Popen(
            [sys.executable, "-s", "-S", "-P", "-B", "-c", COMMAND, str(Path(__file__).parents[1])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1"},
            cwd="/",
            pass_fds=[channel.fileno()],
            text=True,
            encoding="utf-8",
        )
        stdin = _pipe(process.stdin)
        stdin.write(json.dumps({**order, "channel": channel.fileno(), **texts}) + "\n")
        stdin.close()
        process.stdin = None
        return process


def open_sandbox() -> Sandbox:
    """The strongest sandbox that works here; raises SandboxUnavailable with the reason of each that does not."""
    refusals = []
    for mode in (NAMESPACES, LANDLOCK):
        sandbox = Sandbox(mode)
        try:
            outcome = sandbox.run("def one():\n    return 1\n", prelude="", test=_PROBE, entry_point="one")
        except SandboxUnavailable as error:
            refusals.append(f"{mode}: {error}")
            continue
        if outcome.passed:
            return sandbox
        refusals.append(f"{mode}: {outcome.reason}")
    raise SandboxUnavailable("; ".join(refusals))


_PROBE = "def check(function):\n    assert function() == 1\n"


def _pipe(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream


def _line(process: subprocess.Popen[str], deadline: float) -> str | None:
    """The next line of a process's standard output, read byte by byte up to 4 KiB; None at its end or the deadline."""
    descriptor = _pipe(process.stdout).fileno()
    line = b""
    while len(line) < 4096:
        if not select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))[0]:
            return None
        byte = os.read(descriptor, 1)
        if not byte:
            return None
        if byte == b"\n":
            return line.decode(errors="replace")
        line += byte
    return None
