"""Where a job runs: a process of its own on this machine. Another executor (Ray, say) offers the same two methods."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import traceback
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Protocol

from whichbits.core import keeper
from whichbits.core.errors import UserError
from whichbits.core.processes import die_with_parent, leave_working_directory, safe_environment
from whichbits.studies.steps.step import Job, Result, Run, ServerFailed

OpenServer = Callable[[str], str]
"""Runner's side of `StepContext.server`."""


@dataclass(frozen=True)
class Progress:
    """A line about what a running job does."""

    job: Job
    text: str


@dataclass(frozen=True)
class ServerWanted:
    """A running job asks for a server."""

    name: str


@dataclass(frozen=True)
class Finished:
    """A job that ended well."""

    job: Job
    result: Result


@dataclass(frozen=True)
class Failed:
    """A job that ended badly, and why in one line."""

    job: Job
    error: str


class Executor(Protocol):
    """Runs jobs somewhere."""

    def run(self, step: Run, jobs: Sequence[Job], open_server: OpenServer) -> Iterator[Progress | Finished | Failed]:
        """Run jobs of one kind together, in one process; every job ends as Finished or Failed."""
        ...

    def stop(self) -> None:
        """Kill what is running; `run` then reports its jobs as failed."""
        ...


MARK = "WHICHBITS_STORE"
"""Environment variable that all processes of a run carry, so that what a killed run left behind is found."""

SERVER_MARK = "WHICHBITS_SERVER"
"""Environment variable of what a server's supervisor looks after."""

SERVER_GRACE_S = 15.0
"""What supervisors get to end their servers after the runner's death."""

FORK_SERVER = "whichbits.studies.execution.fork_server"


class LocalExecutor:
    """A process for each run of a step, forked from a small server process that has `preload` imported already.

    All processes carry the store's path as a mark; those that an earlier, killed run left behind are killed first, and a keeper
    outside kills those of this run should it be killed. None has the working directory on its import path. Each has this
    process's environment of the time when it begins, whatever the small server process was started with.
    """

    def __init__(self, store: Path, preload: Sequence[str] = ()) -> None:
        reap(store)
        mark = f"{os.getpid()} {store.resolve()}"
        os.environ[MARK] = mark
        self._context: ForkServerContext = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([FORK_SERVER, *preload])
        with _starting():
            forkserver.ensure_running()  # from this thread: it ends with the thread that starts it
        self._keeper = _keeper()
        self._running: set[multiprocessing.process.BaseProcess] = set()
        self._stopped = False

    def run(self, step: Run, jobs: Sequence[Job], open_server: OpenServer) -> Iterator[Progress | Finished | Failed]:
        """Run `jobs` in one process of its own."""
        if self._stopped:
            yield from (Failed(job, "stopped before it began") for job in jobs)
            return
        ours, theirs = self._context.Pipe()
        environment = safe_environment(os.environ)
        process = self._context.Process(target=_work, args=(step, jobs, theirs, environment), daemon=False)
        with _starting():
            process.start()
        self._running.add(process)
        self._tell_keeper(f"+{process.pid}")
        theirs.close()
        left = {job.step.key: job for job in jobs}
        try:
            while True:
                try:
                    message: Progress | Finished | Failed | ServerWanted = ours.recv()
                except (EOFError, ConnectionResetError):
                    break
                match message:
                    case ServerWanted(name):
                        with contextlib.suppress(BrokenPipeError):  # it has died meanwhile, which the next recv tells
                            ours.send(_answer(open_server, name))
                    case Progress():
                        yield message
                    case _:
                        left.pop(message.job.step.key, None)
                        yield message
            process.join()
        finally:
            self._running.discard(process)
            ours.close()
            _kill(process)
            self._tell_keeper(f"-{process.pid}")
        for job in left.values():
            yield Failed(job, _death(process.exitcode))

    def stop(self) -> None:
        """Kill the running processes."""
        self._stopped = True
        for process in tuple(self._running):
            _kill(process)
        self._keeper.kill()
        self._keeper.wait()

    def _tell_keeper(self, line: str) -> None:
        """Of a job's session that begins or has ended."""
        assert self._keeper.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has been stopped, or killed
            self._keeper.stdin.write(f"{line}\n".encode())


def _keeper() -> subprocess.Popen[bytes]:
    """Start the program that kills what this process leaves behind when it is killed."""
    arguments = [str(os.getpid()), MARK, SERVER_MARK, str(SERVER_GRACE_S)]
    quiet = subprocess.DEVNULL
    return subprocess.Popen(
        [sys.executable, "-I", "-S", keeper.__file__, *arguments],
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=quiet,
        stderr=quiet,
        cwd="/",
        env={},
        start_new_session=True,
    )


_START = threading.Lock()


@contextlib.contextmanager
def _starting() -> Iterator[None]:
    """Keep multiprocessing, in a process that it starts, from the program's main module and from the working directory.

    A job needs nothing of that module, and a script that calls the Python API without an `if __name__ == "__main__"` would run
    anew.
    """
    with _START:
        main, safe = sys.modules["__main__"], safe_environment(os.environ)
        names = ("PYTHONSAFEPATH", "PYTHONPATH")
        before = {name: os.environ.get(name) for name in names}
        sys.modules["__main__"] = types.ModuleType("__main__")
        try:
            _set({name: safe.get(name) for name in names})
            yield
        finally:
            _set(before)
            sys.modules["__main__"] = main


def _set(variables: Mapping[str, str | None]) -> None:
    """Set environment variables, or remove those that are None."""
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _answer(open_server: OpenServer, name: str) -> str | ServerFailed:
    """The server's address, or why there is none."""
    try:
        return open_server(name)
    except ServerFailed as error:
        return error


def _kill(process: multiprocessing.process.BaseProcess) -> None:
    """Kill a job's process with everything it has started; what has ended by itself is only reaped."""
    if process.pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.join()


def reap(store: Path) -> None:
    """Kill what earlier runs on this store left behind; the caller holds the store's lock, so none of them is alive."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            for variable in (entry / "environ").read_bytes().split(b"\0"):
                name, _, value = variable.decode(errors="replace").partition("=")
                owner, _, folder = value.partition(" ")
                if name == MARK and folder == str(store.resolve()) and owner != str(os.getpid()):
                    os.kill(int(entry.name), signal.SIGKILL)


def _death(code: int | None) -> str:
    """How a process that said nothing more has ended."""
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        hint = " (out of memory?)" if name == "SIGKILL" else ""
        return f"its process was killed by {name}{hint}"
    return f"its process ended with code {code} without a result"


class _Line:
    """The context of a step as seen from inside the process."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.job: Job | None = None

    def progress(self, text: str) -> None:
        assert self.job is not None
        self.connection.send(Progress(self.job, text))

    def server(self, name: str) -> str:
        self.connection.send(ServerWanted(name))
        answer: str | ServerFailed = self.connection.recv()
        if isinstance(answer, ServerFailed):
            raise answer
        return answer


def _work(step: Run, jobs: Sequence[Job], connection: Connection, environment: Mapping[str, str]) -> None:
    """Body of the process: log to the first job's log.txt, run, report each job."""
    os.environ.clear()
    os.environ.update(environment)
    os.setsid()
    forked_from = sys.modules.get(FORK_SERVER)
    if forked_from is not None:
        die_with_parent(forked_from.PID)
    leave_working_directory(forked_from.PATH if forked_from is not None else ())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the runner's to handle
    with (jobs[0].directory / "log.txt").open("a", buffering=1, encoding="utf-8") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        sys.stdout = sys.stderr = log
        if jobs[0].cpus is not None:
            os.sched_setaffinity(0, jobs[0].cpus)
        line = _Line(connection)
        line.job = jobs[0]
        left = {job.step.key: job for job in jobs}
        try:
            for job, outcome in step(jobs, line):
                if isinstance(outcome, Exception):
                    traceback.print_exception(outcome)
                    connection.send(Failed(job, _cause(outcome)))
                else:
                    json.dumps([outcome.summary.model_dump(), outcome.provenance], allow_nan=False)
                    connection.send(Finished(job, outcome))
                left.pop(job.step.key)
                line.job = next(iter(left.values()), job)
        except Exception as error:  # noqa: BLE001 - the boundary of a step: whatever it was becomes its cause of failure
            traceback.print_exc()
            for job in left.values():
                connection.send(Failed(job, _cause(error)))
        connection.close()


def _cause(error: BaseException) -> str:
    """An exception in one line."""
    text = str(error) if isinstance(error, UserError | ServerFailed) else f"{type(error).__name__}: {error}"
    return " ".join(text.split()) or type(error).__name__
