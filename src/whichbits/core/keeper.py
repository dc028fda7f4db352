"""Wait for a process to end, then kill everything that it has left.

    python keeper.py PID VARIABLE SERVER_VARIABLE GRACE_S

A program of its own, started by PID, with nothing but the standard library; it prints the id that it goes on under.
Processes are known by the environment variable VARIABLE, whose value begins with PID, or by their session: standard input
names one that begins as `+ID` and one that has ended as `-ID`, a line each. Those that carry SERVER_VARIABLE too have a
supervisor that ends them in good order: they are killed only where they are still there after GRACE_S seconds.
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


def sessions_of(ended: int) -> set[int]:
    """Wait for the end of the process of this file descriptor, and return the sessions that it had open by then."""
    text = b""
    watched = [ended, 0]
    while True:
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


def leave() -> None:
    """Go on as a process that is nobody's child, as some programs kill their children when they end; its id is printed."""
    if pid := os.fork():
        os.write(1, f"{pid}\n".encode())
        os._exit(0)
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)


def kill(pids: set[int]) -> None:
    """Kill those of the processes that still live."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except OSError:
            continue


def main(owner: int, variable: str, server_variable: str, grace_s: float) -> None:
    """Do what the module's documentation says."""
    try:
        ended = os.pidfd_open(owner)
    except ProcessLookupError:
        ended = None
    alive = ended is not None and os.getppid() == owner  # else its id may be another's by now
    leave()
    sessions = sessions_of(ended) if ended is not None and alive else set()
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
