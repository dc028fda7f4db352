"""The executor of this machine: a process of its own for each piece of work."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import types
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path

from whichbits.core import keeper
from whichbits.core.errors import UserError
from whichbits.core.processes import die_with_parent, leave_working_directory, safe_environment
from whichbits.schema.step import Step
from whichbits.studies.execution.executor import Executor, Services, StepFailed, Work
from whichbits.studies.execution.placement import Part, Placement
from whichbits.studies.execution.worker import jobs_of, run_work, server_failure
from whichbits.studies.steps.step import Job, Result, ServerFailed
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
class Ended:
    """A step has ended, and is filed."""

    key: str
    outcome: Result | StepFailed


@dataclass(frozen=True)
class Broken:
    """The store cannot be written or read."""

    error: OSError | UserError


Message = Progress | ServerWanted | ServerAsked | Ended | Broken

MARK = "WHICHBITS_STORE"
"""Environment variable that all processes of a run carry, so that what a killed run left behind is found."""

SERVER_MARK = "WHICHBITS_SERVER"
"""Environment variable of what a server's supervisor looks after."""

SERVER_GRACE_S = 15.0
"""What supervisors get to end their servers after the runner's death."""

FORK_SERVER = "whichbits.studies.execution.fork_server"


@dataclass
class _Queued:
    work: Work
    futures: tuple[Future[Result], ...]


@dataclass
class LocalExecutor(Executor):
    """A process for each piece of work, forked from a small server process that has long imports behind it.

    Work waits until its part of the machine is free. All processes carry the store's path as a mark; those that an earlier,
    killed run left behind are killed first, and a keeper outside kills those of this run should it be killed. None has the
    working directory on its import path. Each has this process's environment of the time when it begins, whatever the small
    server process was started with.
    """

    _queue: list[_Queued] = field(default_factory=list, init=False)
    _held: set[Part] = field(default_factory=set, init=False)
    _running: set[multiprocessing.process.BaseProcess] = field(default_factory=set, init=False)
    _threads: list[threading.Thread] = field(default_factory=list, init=False)
    _served: tuple[str, ...] = field(default=(), init=False)
    """Servers of the work that was placed last."""
    _stopped: bool = field(default=False, init=False)
    _lock: threading.RLock = field(default_factory=threading.RLock, init=False)

    def start(self, services: Services) -> None:
        """Start what work is forked from, and the keeper."""
        self._services = services
        store = services.store.folder
        reap(store)
        os.environ[MARK] = f"{os.getpid()} {store.resolve()}"
        self._context: ForkServerContext = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([FORK_SERVER, *services.preload])
        with _starting():
            forkserver.ensure_running()  # from this thread: it ends with the thread that starts it
        self._keeper = _keeper()

    def submit(self, work: Work) -> tuple[Future[Result], ...]:
        """Queue the work; it begins at once where its part of the machine is free."""
        futures: tuple[Future[Result], ...] = tuple(Future() for _ in work.steps)
        with self._lock:
            self._queue.append(_Queued(work, futures))
        self._place()
        return futures

    def stop(self) -> None:
        """Kill the running processes; what was queued has not begun."""
        with self._lock:
            self._stopped = True
            queued, self._queue = self._queue, []
            for process in tuple(self._running):
                _kill(process)
        for one in queued:
            _fail(one.futures, StepFailed("stopped before it began"))
        for thread in self._threads:
            thread.join()
        self._keeper.kill()
        self._keeper.wait()

    def _place(self) -> None:
        """Begin whatever queued work the free parts of the machine can take.

        Among what asks servers that comes first which asks those that the work before has asked: servers start slowly.
        """
        with self._lock:
            if self._stopped:
                return
            for queued in sorted(self._queue, key=self._order):
                needs = queued.work.steps[0].needs
                placement = next((one for one in self._services.machine.placements(needs) if not one.parts & self._held), None)
                if placement is not None:
                    self._queue.remove(queued)
                    self._held |= placement.parts
                    self._served = needs.servers or self._served
                    thread = threading.Thread(target=self._run, args=(queued, placement), name="work", daemon=True)
                    self._threads.append(thread)
                    thread.start()

    def _order(self, queued: _Queued) -> tuple[int, bool]:
        needs = queued.work.steps[0].needs
        return self._services.machine.turn(needs), needs.servers != self._served

    def _run(self, queued: _Queued, placement: Placement) -> None:
        """Run work in a process of its own, and answer it; an error of the store, or one of ours, is in its futures."""
        try:
            self._in_process(queued, placement)
        except BaseException as error:  # noqa: BLE001 - carried over to whoever waits for the futures
            _fail(queued.futures, error)
        finally:
            with self._lock:
                self._held -= placement.parts
            self._place()

    def _in_process(self, queued: _Queued, placement: Placement) -> None:
        services, work = self._services, queued.work
        if work.steps[0].needs.compute and services.machine.accelerator:
            services.free_device()
        futures = {planned.step.key: future for planned, future in zip(work.steps, queued.futures, strict=True)}
        ours, theirs = self._context.Pipe()
        arguments = (work, services.store.folder, placement.cpus, theirs, safe_environment(os.environ))
        process = self._context.Process(target=_work, args=arguments, daemon=False)
        with self._lock:
            if self._stopped:
                raise StepFailed("stopped before it began")
            with _starting():
                process.start()
            self._running.add(process)
        self._tell_keeper(f"+{process.pid}")
        theirs.close()
        for planned in work.steps:
            services.started(planned.step)
        try:
            while True:
                try:
                    message: Message = ours.recv()
                except (EOFError, ConnectionResetError):
                    break
                match message:
                    case ServerWanted(name):
                        with contextlib.suppress(BrokenPipeError):  # it has died meanwhile, which the next recv tells
                            ours.send(_answer(services, name))
                    case ServerAsked(name):
                        with contextlib.suppress(BrokenPipeError):
                            ours.send(services.server_failure(name))
                    case Progress(step, text):
                        services.progress(step, text)
                    case Ended(key, outcome):
                        _answer_with(futures.pop(key), outcome)
                    case Broken(error):
                        raise error
            process.join()
        finally:
            self._running.discard(process)
            ours.close()
            _kill(process)
            self._tell_keeper(f"-{process.pid}")
        self._died(work, futures, process.exitcode)

    def _died(self, work: Work, left: Mapping[str, Future[Result]], code: int | None) -> None:
        """File what its process has left without a result, unless it was killed on purpose.

        What it has filed itself, and could not report any more, is as it is filed.
        """
        store = self._services.store
        for planned in work.steps:
            if planned.step.key in left:
                if not store.in_flight(planned.step).is_dir() and (filed := _as_filed(store, planned.step)) is not None:
                    _answer_with(left[planned.step.key], filed)
                    continue
                cause = server_failure(planned.needs.servers, self._services.server_failure) or _death(code)
                if not self._stopped:
                    store.fail(planned.step, store.in_flight(planned.step), cause)
                left[planned.step.key].set_exception(StepFailed(cause))

    def _tell_keeper(self, line: str) -> None:
        """Of work's session that begins or has ended."""
        assert self._keeper.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has been stopped, or killed
            self._keeper.stdin.write(f"{line}\n".encode())


def _answer_with(future: Future[Result], outcome: Result | StepFailed) -> None:
    future.set_exception(outcome) if isinstance(outcome, StepFailed) else future.set_result(outcome)


def _as_filed(store: Store, step: Step) -> Result | StepFailed | None:
    """How a step has ended by what the store holds of it; None where it holds nothing."""
    record = store.record(step)
    if record.summary is not None:
        return Result(record.summary, record.provenance)
    return StepFailed(record.error) if record.error is not None else None


def _fail(futures: tuple[Future[Result], ...], error: BaseException) -> None:
    for future in futures:
        if not future.done():
            future.set_exception(error)


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


def _answer(services: Services, name: str) -> str | ServerFailed:
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


@dataclass
class _Line:
    """What a step may ask, as seen from inside the process."""

    connection: Connection
    job: Job

    def progress(self, text: str) -> None:
        self.connection.send(Progress(self.job.step, text))

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


def _work(
    work: Work, folder: Path, cpus: frozenset[int] | None, connection: Connection, environment: Mapping[str, str]
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
    store = Store(folder)
    try:
        jobs = jobs_of(work, store, cpus)
        with (jobs[0].directory / "log.txt").open("a", buffering=1, encoding="utf-8") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
            sys.stdout = sys.stderr = log
            for planned, outcome in run_work(work, jobs, store, _Line(connection, jobs[0])):
                connection.send(Ended(planned.step.key, outcome))
    except (OSError, UserError) as error:
        connection.send(Broken(error))
    connection.close()
