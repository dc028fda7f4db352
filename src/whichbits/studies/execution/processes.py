"""Processes for work on this machine: each piece of work in one of its own, which never outlives who asked for it."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

from tqdm import tqdm

from whichbits.core import keeper
from whichbits.core.errors import UserError
from whichbits.core.processes import die_with_parent, leave_working_directory, safe_environment
from whichbits.schema.step import Step
from whichbits.studies.execution import beside
from whichbits.studies.execution.executor import StepFailed, StepServices, Work
from whichbits.studies.execution.machine_locks import measuring
from whichbits.studies.execution.worker import jobs_of, run_work, server_failure
from whichbits.studies.steps.step import Job, Result, ServerFailed
from whichbits.studies.store.place import open_store
from whichbits.studies.store.store import Store


@dataclass(frozen=True)
class Progress:
    """A line about what a running step does."""

    step: Step
    text: str


@dataclass(frozen=True)
class ServerWanted:
    """A running step asks for a server."""

    name: str


@dataclass(frozen=True)
class ServerAsked:
    """A running step asks whether a server has died."""

    name: str


@dataclass(frozen=True)
class ServerSilent:
    """A server has not answered a running step in time."""

    name: str


@dataclass(frozen=True)
class Ended:
    """A step has ended, and is filed."""

    key: str
    outcome: Result | StepFailed


@dataclass(frozen=True)
class Broken:
    """The store cannot be written or read."""

    error: OSError | UserError


Message = Progress | ServerWanted | ServerAsked | ServerSilent | Ended | Broken

MARK = "WHICHBITS_STORE"
"""Environment variable that all processes of a run carry, so that what a killed run left behind is found."""

SERVER_MARK = "WHICHBITS_SERVER"
"""Environment variable of what a server's supervisor looks after."""

SERVER_GRACE_S = 15.0
"""What supervisors get to end their servers after the runner's death."""

FORK_SERVER = "whichbits.studies.execution.fork_server"


@dataclass(frozen=True)
class Lost:
    """Work whose process has ended without a result of these jobs."""

    jobs: tuple[Job, ...]
    cause: str


Ending = Callable[[str, Result | StepFailed], None]
"""Is told how the step of a key has ended."""


@dataclass
class Processes:
    """Processes forked from a small server process that has long imports behind it; each runs one piece of work.

    All carry the store's path as a mark, and a keeper outside kills them should this process be killed. None has the working
    directory on its import path. To be made in a thread that lives as long as this process.
    """

    store: Store
    preload: Sequence[str]
    stopped: bool = field(default=False, init=False)
    _running: set[multiprocessing.process.BaseProcess] = field(default_factory=set, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def __post_init__(self) -> None:
        self.keeper = start_keeper(self.store.folder)
        self._turns = TemporaryDirectory(prefix="whichbits-turns-")
        self._context: ForkServerContext = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([FORK_SERVER, *self.preload])
        with _starting():
            forkserver.ensure_running()  # from this thread: it ends with the thread that starts it

    def run(
        self,
        work: Work,
        cpus: frozenset[int] | None,
        environment: Mapping[str, str],
        services: StepServices,
        ended: Ending,
    ) -> Lost | None:
        """Run work in a process of its own that has this environment, and is bound to these processors.

        `ended` is told of each step as it is filed. What the process leaves without a result, when it has died, is returned.
        Raises OSError or UserError of the store, StepFailed where the processes are stopped.
        """
        jobs = {job.step.key: job for job in jobs_of(work, self.store, cpus, Path(self._turns.name))}
        ours, theirs = self._context.Pipe()
        arguments = (work, tuple(jobs.values()), self.store.address, cpus, theirs, environment)
        process = self._context.Process(target=_work, args=arguments, daemon=False)
        with self._lock:
            if self.stopped:
                raise StepFailed("stopped before it began")
            with _starting():
                process.start()
            self._running.add(process)
        self.keeper.tell(f"+{process.pid}")
        theirs.close()
        for planned in work.steps:
            services.started(planned.step)

        def end(key: str, outcome: Result | StepFailed) -> None:
            del jobs[key]
            ended(key, outcome)

        try:
            _converse(ours, services, end)
            process.join()
        finally:
            self._running.discard(process)
            ours.close()
            _kill(process)
            self.keeper.tell(f"-{process.pid}")
        if work.beside:
            said = beside.taken_away(tuple(jobs.values()))
            return None if process.exitcode == 0 else Lost(tuple(jobs.values()), f"{_death(process.exitcode)}: {said}")
        # What it has filed itself, and could not report any more, is as it is filed.
        for job in tuple(jobs.values()):
            if not job.directory.is_dir() and (filed := as_filed(self.store, job.step)) is not None:
                end(job.step.key, filed)
        if not jobs:
            return None
        cause = server_failure(work.steps[0].needs.servers, services.server_failure) or _death(process.exitcode)
        return Lost(tuple(jobs.values()), cause)

    def stop(self) -> None:
        """Kill the running processes, and start no other."""
        with self._lock:
            self.stopped = True
            for process in tuple(self._running):
                _kill(process)

    def close(self) -> None:
        """End the keeper: nothing runs any more."""
        self.keeper.end()
        self._turns.cleanup()


def _converse(connection: Connection, services: StepServices, ended: Ending) -> None:
    """Answer what the work's process asks, and hear of each step's end, until it has ended."""
    while True:
        try:
            message: Message = connection.recv()
        except (EOFError, ConnectionResetError):
            return
        match message:
            case ServerWanted(name):
                with contextlib.suppress(BrokenPipeError):  # it has died meanwhile, which the next recv tells
                    connection.send(_answer(services, name))
            case ServerAsked(name):
                with contextlib.suppress(BrokenPipeError):
                    connection.send(services.server_failure(name))
            case ServerSilent(name):
                services.server_silent(name)
            case Progress(step, text):
                services.progress(step, text)
            case Ended(key, outcome):
                ended(key, outcome)
            case Broken(error):
                raise error


def as_filed(store: Store, step: Step) -> Result | StepFailed | None:
    """How a step has ended by what the store holds of it; None where it holds nothing."""
    record = store.record(step)
    if record.summary is not None:
        return Result(record.summary, record.provenance)
    return StepFailed(record.error) if record.error is not None else None


@dataclass(frozen=True)
class Keeper:
    """The program that kills what this process leaves behind when it is killed."""

    pid: int
    lines: IO[bytes]

    def tell(self, line: str) -> None:
        """Of a session that has begun or ended."""
        with contextlib.suppress(BrokenPipeError):  # it has been killed
            self.lines.write(f"{line}\n".encode())

    def end(self) -> None:
        """Nothing is left to be killed."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self.lines.close()


def start_keeper(store: Path) -> Keeper:
    """Start it, and mark all that this process starts from now on as work on a store."""
    os.environ[MARK] = f"{os.getpid()} {store.resolve()}"
    arguments = [str(os.getpid()), MARK, SERVER_MARK, str(SERVER_GRACE_S)]
    starting = subprocess.Popen(
        [sys.executable, "-I", "-S", keeper.__file__, *arguments],
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env={},
        start_new_session=True,
    )
    assert starting.stdin is not None
    assert starting.stdout is not None
    pid = int(starting.stdout.readline())
    starting.wait()
    starting.stdout.close()
    return Keeper(pid, starting.stdin)


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


def _answer(services: StepServices, name: str) -> str | ServerFailed:
    """The server's address, or why there is none."""
    try:
        return services.server(name)
    except ServerFailed as error:
        return error


def _kill(process: multiprocessing.process.BaseProcess) -> None:
    """Kill a job's process with everything it has started; what has ended by itself is only reaped."""
    if process.pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()  # one that has no session of its own yet
    process.join()


def _death(code: int | None) -> str:
    """How a process that said nothing more has ended."""
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        hint = " (out of memory?)" if name == "SIGKILL" else ""
        return f"its process was killed by {name}{hint}"
    return f"its process ended with code {code} without a result"


@dataclass
class _Line:
    """What a step may ask, as seen from inside the process."""

    connection: Connection
    job: Job

    def progress(self, text: str) -> None:
        self.connection.send(Progress(self.job.step, text))

    def waits(self, store: str) -> None:
        self.progress(f"waits for a measurement of {store} on this machine")

    def server(self, name: str) -> str:
        self.connection.send(ServerWanted(name))
        answer: str | ServerFailed = self.connection.recv()
        if isinstance(answer, ServerFailed):
            raise answer
        return answer

    def server_failure(self, name: str) -> str | None:
        self.connection.send(ServerAsked(name))
        answer: str | None = self.connection.recv()
        return answer

    def server_silent(self, name: str) -> None:
        self.connection.send(ServerSilent(name))


def _work(
    work: Work,
    jobs: Sequence[Job],
    address: str,
    cpus: frozenset[int] | None,
    connection: Connection,
    environment: Mapping[str, str],
) -> None:
    """Body of the process: log to the first step's log.txt, run, file and report each step."""
    os.environ.clear()
    os.environ.update(environment)
    os.setsid()
    forked_from = sys.modules.get(FORK_SERVER)
    if forked_from is not None:
        die_with_parent(forked_from.PID)
    leave_working_directory(forked_from.PATH if forked_from is not None else ())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the runner's to handle
    if cpus is not None:
        os.sched_setaffinity(0, cpus)
    # A lock between processes, as tqdm makes one, would be a semaphore that Python's resource tracker finds left over.
    tqdm.set_lock(threading.RLock())
    store = open_store(address)
    try:
        with (jobs[0].directory / "log.txt").open("a", buffering=1, encoding="utf-8") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
            sys.stdout = sys.stderr = log
            line = _Line(connection, jobs[0])
            if work.beside:
                sys.exit(beside.run(work, jobs, line))
            with measuring(store.place, line.waits) if work.steps[0].needs.alone else contextlib.nullcontext():
                for planned, outcome in run_work(work, jobs, store, line):
                    connection.send(Ended(planned.step.key, outcome))
    except (OSError, UserError) as error:
        connection.send(Broken(error))
    connection.close()


def answer(future: Future[Result], outcome: Result | StepFailed) -> None:
    """Have a step's future know how it has ended."""
    future.set_exception(outcome) if isinstance(outcome, StepFailed) else future.set_result(outcome)
