"""Records of started servers, by which the next start finds and ends those that a killed run left behind.

One JSON file a server, named by its supervisor's process id. A process is identified by id *and* start time (clock ticks since
boot), within one boot and one process-id namespace; so a recycled id is never mistaken for a server of ours.
"""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from whichbits.core.home import cache_directory, cache_errors
from whichbits.core.processes import machine_identity, start_time, status

SECONDS = ".seconds"
"""Suffix of the file that says how long a server took to start."""
LOCAL_NAMES = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class ServerRecord:
    """One started server: supervisor (leader of the server's session), its parent, and what tells machines apart."""

    pid: int
    start_time: int
    parent_pid: int
    parent_start_time: int
    machine: str
    port: int
    checkpoint: str


def default_registry() -> Path:
    """Folder of the records, in the cache directory."""
    return cache_directory() / "servers"


def session_members(session: int) -> list[int]:
    """Living processes of a session."""
    members = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            fields = status(int(entry.name))
            if fields is not None and fields[0] != "Z" and int(fields[3]) == session:
                members.append(int(entry.name))
    return members


def record(registry: Path, server: ServerRecord) -> Path:
    """Write the record of a server and return its path."""
    path = registry / f"{server.pid}-{server.start_time}.json"
    with cache_errors(path):
        registry.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".tmp")
        draft.write_text(json.dumps(asdict(server)), encoding="utf-8")
        draft.replace(path)
    return path


def note_ready(record: Path, seconds: float) -> None:
    """Keep beside a server's record how long it took until it answered, in a file of its own: other versions read records."""
    with cache_errors(record):
        record.with_suffix(SECONDS).write_text(f"{seconds:.3f}", encoding="utf-8")


def forget(record: Path) -> None:
    """Remove the record of a server that has ended."""
    record.unlink(missing_ok=True)
    record.with_suffix(SECONDS).unlink(missing_ok=True)


def running_at(registry: Path, url: str) -> tuple[ServerRecord, float | None] | None:
    """The server of this machine that was started for an address, and how long that took; None where there is none."""
    address = urlsplit(url)
    for path in sorted(registry.glob("*.json")) if address.hostname in LOCAL_NAMES else []:
        try:
            server = ServerRecord(**json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:  # it has just ended
            continue
        if (server.port, server.machine) == (address.port, machine_identity()) and start_time(server.pid) == server.start_time:
            seconds = path.with_suffix(SECONDS)
            return server, float(seconds.read_text(encoding="utf-8")) if seconds.is_file() else None
    return None


def end_stale_servers(registry: Path, *, grace_s: float = 10.0) -> list[ServerRecord]:
    """End every recorded server whose parent has ended, remove its record, and return those that still ran.

    Members of the server's session are ended too, so also a server whose supervisor was killed. While a session has members its
    id is not given away, hence a session whose leader is gone, or is the recorded process, is the recorded one.
    """
    ended = []
    for path in sorted(registry.glob("*.json")):
        try:
            server = ServerRecord(**json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:  # another run has just removed it
            continue
        if server.machine != machine_identity() or start_time(server.parent_pid) == server.parent_start_time:
            continue
        leader = start_time(server.pid)
        if leader in (None, server.start_time) and session_members(server.pid):
            end_session(server.pid, grace_s)
            ended.append(server)
        forget(path)
    return ended


def end_session(session: int, grace_s: float) -> None:
    """Ask a session's leader, or its members where there is none, to end; kill what is left after `grace_s`."""
    deadline = time.monotonic() + grace_s
    _signal([session] if start_time(session) is not None else session_members(session), signal.SIGTERM)
    while members := session_members(session):
        if time.monotonic() > deadline:
            _signal(members, signal.SIGKILL)
        time.sleep(0.05)


def _signal(pids: list[int], number: int) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
