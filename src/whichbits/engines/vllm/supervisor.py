"""Run one command so that it, and everything that it starts, ends with the process that asked for it.

    python supervisor.py PARENT_PID GRACE_S CPUS COMMAND...

A program of its own, with nothing but the standard library, because a server that must die with its runner even at kill -9
needs somebody who outlives the runner. It is a child subreaper, so that orphans of the command become its children; it watches
the parent through a pidfd (a parent-death signal would come at the death of the parent's *thread*); at the parent's death, at
SIGTERM or at the command's end it ends what is left, and returns the command's exit status (128 + n for signal n). Should it
be killed itself, the command gets SIGKILL from the kernel. CPUS is a list like `0,1`, or `-` for no binding. vLLM never removes
the sockets between its processes: they get a folder (VLLM_RPC_BASE_PATH) that goes with the server.
"""

from __future__ import annotations

import ctypes
import os
import select
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option}) failed")


def children() -> set[int]:
    """Process ids of this process's living children, adopted ones included."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            except OSError:  # it has ended meanwhile
                continue
            if int(fields[1]) == os.getpid() and fields[0] != "Z":
                found.add(int(entry.name))
    return found


def reap(command: int, status: int | None) -> tuple[int | None, bool]:
    """Collect ended children; return the command's exit status once it has one, and whether any child is left."""
    while True:
        try:
            pid, raw = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return status, False
        if pid == 0:
            return status, True
        if pid == command:
            code = os.waitstatus_to_exitcode(raw)
            status = code if code >= 0 else 128 - code


def signal_all(pids: set[int], number: int) -> None:
    """Send a signal to those of the processes that still live."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def start(argv: list[str], cpus: str) -> int:
    """Fork and execute the command in a process group of its own."""
    supervisor = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    os.setpgid(0, 0)
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != supervisor:  # it has gone before the kernel could be asked
        os._exit(1)
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    if cpus != "-":
        os.sched_setaffinity(0, {int(cpu) for cpu in cpus.split(",")})
    try:
        os.execvp(argv[0], argv)
    except OSError as error:
        sys.stderr.write(f"OSError: cannot run {argv[0]!r}: {error.strerror}\n")
        sys.stderr.flush()
        os._exit(127)


def main(argv: list[str]) -> int:
    """Run the command line described above and return its exit status."""
    parent, grace, cpus, command = int(argv[0]), float(argv[1]), argv[2], argv[3:]
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    os.set_blocking(wake_read, False)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    stopping = False

    def stop(_number: int, _frame: object) -> None:
        nonlocal stopping
        stopping = True

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, stop)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    try:
        parent_fd = os.pidfd_open(parent)
    except ProcessLookupError:
        return 1
    if os.getppid() != parent:
        return 1
    sockets = tempfile.mkdtemp(prefix="whichbits-")
    os.environ["VLLM_RPC_BASE_PATH"] = sockets
    child = start(command, cpus)

    poll = select.poll()
    poll.register(parent_fd, select.POLLIN)
    poll.register(wake_read, select.POLLIN)
    status: int | None = None
    while status is None and not stopping:
        for descriptor, _event in poll.poll():
            if descriptor == parent_fd:
                stopping = True
            else:
                os.read(wake_read, 4096)
        status, _ = reap(child, status)

    # A server that is told first can remove its shared memory; what is left after the grace is killed.
    told = {child}
    if status is None:
        signal_all({child}, signal.SIGTERM)
    deadline = time.monotonic() + grace
    status, left = reap(child, status)
    while left:
        if time.monotonic() > deadline:
            signal_all(children(), signal.SIGKILL)
        elif status is not None and (orphans := children() - told):
            signal_all(orphans, signal.SIGTERM)
            told |= orphans
        time.sleep(0.05)
        status, left = reap(child, status)
    shutil.rmtree(sockets)
    return status if status is not None else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
