"""Time and memory of a command and all that it starts."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

SAMPLED_EVERY_S = 0.02


@dataclass(frozen=True)
class Measured:
    """Seconds of wall clock and of processor time, and the highest anonymous memory seen (bytes), summed over processes."""

    wall_s: float
    cpu_s: float
    peak_anonymous_bytes: int

    def as_dict(self) -> dict[str, float]:
        """For a JSON file."""
        return asdict(self)


def measured(command: Sequence[str | Path], *, environment: Mapping[str, str], log: Path) -> Measured:
    """Run a command to its end, its output to `log`. Raises CalledProcessError where it fails.

    Memory is sampled from /proc every 20 ms, so a shorter peak can be missed; file-backed pages do not count.
    """
    peak = 0
    began = time.perf_counter()
    with log.open("wb") as output:
        # wait4 below gives the time of this process and of the children that it waited for.
        process = subprocess.Popen(list(map(str, command)), env=dict(environment), stdout=output, stderr=subprocess.STDOUT)
        while True:
            done, status, usage = os.wait4(process.pid, os.WNOHANG)
            if done:
                break
            peak = max(peak, sum(anonymous_bytes(pid) for pid in family(process.pid)))
            time.sleep(SAMPLED_EVERY_S)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - began
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, log.read_bytes()[-3000:])
    return Measured(wall, usage.ru_utime + usage.ru_stime, peak)


def family(pid: int) -> list[int]:
    """A process and its descendants."""
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        children = [int(child) for thread in threads for child in (thread / "children").read_text().split()]
    except OSError:
        return [pid]
    return [pid, *(member for child in children for member in family(child))]


def anonymous_bytes(pid: int) -> int:
    """Anonymous resident memory of a process; 0 where it has ended."""
    try:
        found = re.search(r"^RssAnon:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.M)
    except OSError:
        return 0
    return int(found[1]) * 1024 if found else 0
