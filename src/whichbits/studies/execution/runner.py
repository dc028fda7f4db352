"""Runs what is missing of a plan on this machine.

Two lanes work side by side: `local` steps on one part of the cores, `server` steps with the server they talk to on the other.
Then the sitting: the speed steps, alone on the machine. Servers stay up from their first use to their last.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from whichbits.schema.step import Step
from whichbits.studies.execution.local import Executor, Failed, Finished, Progress
from whichbits.studies.planning.plan import Plan, Served
from whichbits.studies.steps.planned import Planned
from whichbits.studies.steps.step import Job, Kind, ServerFailed
from whichbits.studies.store.store import Store

State = Literal["waiting", "running", "done", "failed"]

FAILURES = 2
"""A candidate whose server failed so often in a run, at its start or later, is not served again: each start takes a minute."""


class Server(Protocol):
    """A server that is up, or was."""

    @property
    def url(self) -> str:
        """Its address."""
        ...

    def failure(self) -> str | None:
        """Why it has died, in one line; None while it lives."""
        ...


class Servers(Protocol):
    """Starts servers; given by whoever knows engines."""

    @property
    def resident(self) -> int:
        """How many may be up at once."""
        ...

    def open(self, name: str, checkpoint: Path) -> AbstractContextManager[Server]:
        """Start a server for the checkpoint. Raises ServerFailed."""
        ...


class Observer(Protocol):
    """Is told what happens; called from several threads."""

    def started(self, step: Step) -> None:
        """The step began to run."""

    def progress(self, step: Step, text: str) -> None:
        """The step says how far it is."""

    def ended(self, step: Step, state: State, seconds: float, error: str | None, addresses: Sequence[str] = ()) -> None:
        """The step is done, with what was answered at these addresses, or has failed."""

    def note(self, text: str) -> None:
        """Something else happened, as a server starting."""


@dataclass(frozen=True)
class Cores:
    """Which cores each lane may use; None for all."""

    local: frozenset[int] | None = None
    client: frozenset[int] | None = None
    server: frozenset[int] | None = None
    """Where servers run; local steps use them too once no server is at work."""


@dataclass
class Runner:
    """Runs the missing steps of a plan; `run` returns when all are done, failed, or stopped."""

    plan: Plan
    store: Store
    kinds: Mapping[str, Kind]
    executor: Executor
    servers: Servers
    observer: Observer
    cores: Cores = Cores()
    side_by_side: bool = True
    """Whether the local lane works while the server lane does; not where both would share an accelerator."""
    _states: dict[str, State] = field(default_factory=dict, init=False)
    _changed: threading.Condition = field(default_factory=threading.Condition, init=False)
    _stopping: threading.Event = field(default_factory=threading.Event, init=False)
    _interrupted: threading.Event = field(default_factory=threading.Event, init=False)
    _open: dict[str, Server] = field(default_factory=dict, init=False)
    _stacks: dict[str, ExitStack] = field(default_factory=dict, init=False)
    _failures: dict[str, list[str]] = field(default_factory=dict, init=False)

    def run(self) -> dict[str, State]:
        """State of each step of the plan by key, once nothing more can be done."""
        missing = self.plan.missing(self.store)
        with self._changed:
            self._states.update({planned.step.key: "done" for planned in self.plan.steps})
            self._states.update({planned.step.key: "waiting" for planned in missing})
        lanes: dict[str, list[Planned]] = {"local": [], "server": [], "sitting": []}
        for planned in missing:
            lanes[planned.lane].append(planned)
        kept = {name for planned in lanes["sitting"] for name in planned.servers}
        threads = [
            threading.Thread(target=self._guarded, args=(self._local_lane, lanes["local"], self.cores.local), name="local"),
            threading.Thread(
                target=self._guarded, args=(self._server_lane, lanes["server"], kept, lanes["local"]), name="server"
            ),
        ]
        self._errors: list[BaseException] = []
        with _interruption() as self._interrupted:
            self._work(threads, lanes["sitting"])
        if self._errors:
            raise self._errors[0]
        return dict(self._states)

    def _work(self, threads: list[threading.Thread], sitting_steps: list[Planned]) -> None:
        """Run the lanes' threads, then the sitting; whatever happens, nothing of them is left."""
        try:
            for thread in threads:
                thread.start()
                if not self.side_by_side:
                    self._join(thread)
            for thread in threads:
                self._join(thread)
            if sitting_steps and not self._stopping.is_set() and not self._errors:
                sitting = threading.Thread(target=self._guarded, args=(self._sitting, sitting_steps), name="sitting")
                threads.append(sitting)
                sitting.start()
                self._join(sitting)
        finally:
            self._stopping.set()
            self.executor.stop()
            for thread in threads:
                if thread.ident is not None:
                    thread.join()
            self._close_servers()

    def _join(self, thread: threading.Thread) -> None:
        """Wait for a lane, but let Ctrl-C through."""
        while thread.is_alive():
            thread.join(0.2)
            if self._interrupted.is_set():
                raise KeyboardInterrupt

    def _guarded(self, lane: Callable[..., None], *arguments: object) -> None:
        """Run a lane; an error of the runner itself (a full disk, say) stops the run and is raised by `run`."""
        try:
            lane(*arguments)
        except BaseException as error:  # noqa: BLE001 - carried over to the main thread, which raises it
            self._errors.append(error)
            self._stopping.set()
            self.executor.stop()
            with self._changed:
                self._changed.notify_all()

    # Lanes

    def _local_lane(self, left: list[Planned], cpus: frozenset[int] | None) -> None:
        """Run local steps one after another, each as soon as what it reads is done; both lanes may take from `left`.

        Steps that share work run together.
        """
        while not self._stopping.is_set():
            with self._changed:
                if not left:
                    return
                ready = next((planned for planned in left if self._settled(planned)), None)
                if ready is None:
                    self._changed.wait(0.5)
                    continue
                group = [ready, *(other for other in left if other is not ready and self._together(ready, other))]
                for planned in group:
                    left.remove(planned)
            runnable = [planned for planned in group if self._can_run(planned)]
            if runnable:
                self._execute(runnable, cpus)

    def _server_lane(self, steps: Sequence[Planned], kept: set[str], local: list[Planned]) -> None:
        """Run server steps, candidate by candidate; close each server after its last step unless the sitting needs it.

        Then help with the local steps, on the servers' cores.
        """
        names = dict.fromkeys(planned.servers[0] for planned in steps)
        for name in names:
            group = [planned for planned in steps if planned.servers[0] == name]
            runnable = [planned for planned in group if self._await(planned)]
            for planned in runnable:
                if self._stopping.is_set():
                    return
                self._execute([planned], self.cores.client)
            if name not in kept or self.servers.resident <= 1:
                self._close_server(name)
        if self.side_by_side:
            self._local_lane(local, self.cores.server)

    def _sitting(self, steps: Sequence[Planned]) -> None:
        """Measure speeds: all candidates whose server came up, in one process, in the order planned."""
        runnable = [planned for planned in steps if self._await(planned)]
        if runnable and not self._stopping.is_set():
            self._execute(runnable, self.cores.client)

    # Steps

    def _together(self, one: Planned, other: Planned) -> bool:
        """Whether two steps share work, and the other can run now as the one can."""
        together = self.kinds[one.step.kind].together
        if together is None or other.step.kind != one.step.kind or not self._settled(other):
            return False
        work = together(one.step)
        return work is not None and together(other.step) == work

    def _settled(self, planned: Planned) -> bool:
        """Whether everything the step needs has ended, well or badly."""
        return all(self._states.get(step.key, "done") in ("done", "failed") for step in planned.before)

    def _await(self, planned: Planned) -> bool:
        """Wait until the step can run; False where it cannot."""
        with self._changed:
            while not self._settled(planned):
                if self._stopping.is_set():
                    return False
                self._changed.wait(0.5)
        return self._can_run(planned)

    def _can_run(self, planned: Planned) -> bool:
        """Whether what the step needs is done; if not, it fails with the first cause."""
        for step in planned.before:
            if self._states.get(step.key, "done") == "failed":
                self._fail(planned, f"needs {step.kind} of {step.labels.candidate}, which failed")
                return False
        return not self._stopping.is_set()

    def _execute(self, group: Sequence[Planned], cpus: frozenset[int] | None) -> None:
        """Run steps of one kind in one process, and file what comes of each."""
        by_key = {planned.step.key: planned for planned in group}
        jobs = []
        for planned in group:
            reads = {role: self.store.directory(step) for role, step in planned.reads.items()}
            partial, kept = self.store.partial(planned.step), self.store.kept(planned.step)
            earlier, shared = self.store.earlier(planned.step), self.store.shared
            jobs.append(Job(planned.step, partial, reads, planned.servers, cpus, kept, shared, earlier))
        started = time.monotonic()
        for planned in group:
            self._set(planned.step, "running")
            self.observer.started(planned.step)
        for message in self.executor.run(self.kinds[group[0].step.kind].run, jobs, self._server):
            planned = by_key[message.job.step.key]
            seconds = time.monotonic() - started
            match message:
                case Progress(text=text):
                    self.observer.progress(planned.step, text)
                case Finished(job=job) if (death := self._death(planned)) is not None:
                    self._fail(planned, death, job.directory, seconds)
                case Finished(job=job, result=result):
                    provenance = {**result.provenance, "seconds": round(seconds, 3), "finished_at": _now()}
                    self.store.finish(planned.step, job.directory, result.summary, provenance)
                    self._set(planned.step, "done")
                    self.observer.ended(planned.step, "done", seconds, None, _addresses(provenance))
                    started = time.monotonic()
                case Failed(job=job, error=error):
                    self._fail(planned, self._death(planned) or error, job.directory, seconds)

    def _fail(self, planned: Planned, error: str, partial: Path | None = None, seconds: float = 0.0) -> None:
        """File a failure, unless the run is being stopped: a step in flight has then not failed."""
        if self._stopping.is_set():
            return
        self.store.fail(planned.step, partial, error)
        self._set(planned.step, "failed")
        self.observer.ended(planned.step, "failed", seconds, error)

    def _set(self, step: Step, state: State) -> None:
        with self._changed:
            self._states[step.key] = state
            self._changed.notify_all()

    # Servers

    def _server(self, name: str) -> str:
        """Address of the candidate's server, started if it is not up. Raises ServerFailed."""
        served: Served = self.plan.served[name]
        if served.url is not None:
            return served.url
        failures = self._failures.setdefault(name, [])
        if name in self._open and (cause := self._open[name].failure()) is not None:
            failures.append(cause)
            self._close_server(name)
        if name not in self._open:
            if len(failures) >= FAILURES:
                raise ServerFailed(f"the server of {name} failed {len(failures)} times in this run: {failures[-1]}")
            while len(self._open) >= self.servers.resident:
                self._close_server(next(iter(self._open)))
            self.observer.note(f"starting the server of {name}")
            stack = ExitStack()
            try:
                self._open[name] = stack.enter_context(self.servers.open(name, served.checkpoint(self.store)))
            except ServerFailed as error:
                failures.append(str(error))
                raise
            self._stacks[name] = stack
        return self._open[name].url

    def _death(self, planned: Planned) -> str | None:
        """Why a server that the step used has died, if one has."""
        for name in planned.servers:
            cause = self._open[name].failure() if name in self._open else None
            if cause is not None:
                return f"the server of {name} died: {cause}"
        return None

    def _close_server(self, name: str) -> None:
        self._open.pop(name, None)
        stack = self._stacks.pop(name, None)
        if stack is not None:
            stack.close()

    def _close_servers(self) -> None:
        for name in tuple(self._stacks):
            self._close_server(name)


@contextmanager
def _interruption() -> Iterator[threading.Event]:
    """An event that Ctrl-C sets: raised as an exception, it could be lost in a callback that swallows exceptions."""
    pressed = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # where no signal arrives
        yield pressed
        return
    before = signal.signal(signal.SIGINT, lambda *_: pressed.set())
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)


def _addresses(provenance: Mapping[str, Any]) -> list[str]:
    """Where a result came from: the addresses of the servers that its provenance names, each once."""
    servers = [provenance.get("server"), *provenance.get("servers", {}).values()]
    return list(dict.fromkeys(str(server["address"]) for server in servers if server))


def _now() -> str:
    """The time, UTC, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
