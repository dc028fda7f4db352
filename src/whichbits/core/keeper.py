"""Wait for a process to end, then kill everything that it has left.

    python keeper.py PID VARIABLE SERVER_VARIABLE GRACE_S

A program of its own, with nothing but the standard library. Processes are known by the environment variable VARIABLE, whose
value begins with PID, or by their session: standard input names one that begins as `+ID` and one that has ended as `-ID`, a
line each. Those that carry SERVER_VARIABLE too have a supervisor that ends them in good order: they are killed only where they
are still there after GRACE_S seconds.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path


def processes() -> Iterator[tuple[int, int, dict[str, str]]]:
    """Process id, session and environment of each living process that may be looked at."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text(errors="replace", encoding="utf-8").rpartition(")")[2].split()
            raw = (entry / "environ").read_bytes().decode(errors="replace")
        except OSError:  # it has ended meanwhile, or is somebody else's
            continue
        if fields[0] not in "ZX":
            pairs = (variable.partition("=") for variable in raw.split("\0"))
            yield int(entry.name), int(fields[3]), {name: value for name, _, value in pairs}


def left_behind(owner: int, variable: str, server_variable: str, sessions: set[int]) -> tuple[set[int], set[int]]:
    """Ids of the processes that `owner` has left: those to kill at once, and those of servers."""
    at_once: set[int] = set()
    servers: set[int] = set()
    for pid, session, environment in processes():
        marked = environment.get(variable, "").partition(" ")[0] == str(owner)
        if pid != os.getpid() and (marked or session in sessions):
            (servers if server_variable in environment else at_once).add(pid)
    return at_once, servers


def sessions_of(owner: int) -> set[int]:
    """Wait for the end of `owner`, and return the sessions that it had open by then."""
    try:
        ended = os.pidfd_open(owner)
    except ProcessLookupError:
        return set()
    text = b""
    watched = [ended, 0]
    while os.getppid() == owner:
        readable = select.select(watched, [], [])[0]
        part = os.read(0, 1 << 16) if 0 in readable else b""
        text += part
        if not part and ended in readable:
            break
        if not part:
            watched = [ended]
    opened: set[int] = set()
    for line in text.decode().splitlines():
        (opened.add if line[0] == "+" else opened.discard)(int(line[1:]))
    return opened


def kill(pids: set[int]) -> None:
    """Kill those of the processes that still live."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except OSError:
            continue


def main(owner: int, variable: str, server_variable: str, grace_s: float) -> None:
    """Do what the module's documentation says."""
    sessions = sessions_of(owner)
    deadline = time.monotonic() + grace_s
    while True:
        at_once, servers = left_behind(owner, variable, server_variable, sessions)
        if time.monotonic() > deadline:
            at_once |= servers
        if not at_once and not servers:
            return
        kill(at_once)
        time.sleep(0.05)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3], float(sys.argv[4]))
