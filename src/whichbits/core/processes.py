"""Processes (Linux): children that import nothing from the working directory and never outlive who started them; who is who."""

from __future__ import annotations

import ctypes
import os
import signal
import site
import sys
from collections.abc import Collection, Mapping
from pathlib import Path

_PR_SET_PDEATHSIG = 1


def safe_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment for a child whose Python programs shall import nothing from the working directory.

    Python puts the working directory (`-c`, `-m`) or a script's folder first on `sys.path` unless PYTHONSAFEPATH is set
    (Python 3.11), and reads an empty entry of PYTHONPATH as the working directory. What PYTHONPATH names stays.
    """
    safe = {**environment, "PYTHONSAFEPATH": environment.get("PYTHONSAFEPATH") or "1"}
    if "PYTHONPATH" in safe:
        named = [entry for entry in safe["PYTHONPATH"].split(os.pathsep) if entry]
        safe["PYTHONPATH"] = os.pathsep.join(named)
        if not named:
            del safe["PYTHONPATH"]
    return safe


def leave_working_directory(keep: Collection[str] = ()) -> None:
    """Take the working directory off this process's `sys.path`, but for entries in `keep`."""
    try:
        here = Path.cwd().resolve()
    except FileNotFoundError:  # it has been deleted, so nothing can be imported from it
        return
    sys.path[:] = [entry for entry in sys.path if entry in keep or Path(entry).resolve() != here]


def protect_program() -> None:
    """Keep the working directory from being imported by this program, which is ours, and by all that it starts.

    It is on the path of `python -m` and `python -c`, and where PYTHONPATH has an empty entry.
    """
    named = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    own = str(Path(__file__).parents[2])
    leave_working_directory({*named, *map(os.path.abspath, named), *site.getsitepackages(), own})
    safe = safe_environment(os.environ)
    os.environ.pop("PYTHONPATH", None)
    os.environ.update(safe)


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when the thread of process `parent` that started it ends.

    The kernel does it whatever this process runs, also while the interpreter's lock is held. Ends at once where the parent has
    gone before it could be asked for. The request is not inherited by processes that this one starts.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:
        os._exit(1)


def machine_identity() -> str:
    """Boot and process-id namespace, within which a process id and start time name one process."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    return f"{boot} {Path('/proc/self/ns/pid').readlink()}"


def status(pid: int) -> list[str] | None:
    """Fields of /proc/PID/stat from the state on, or None where there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def start_time(pid: int) -> int | None:
    """Start of a process in clock ticks since boot, or None where it has ended."""
    fields = status(pid)
    return None if fields is None or fields[0] in "ZX" else int(fields[19])
