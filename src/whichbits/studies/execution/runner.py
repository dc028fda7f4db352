"""Runs what is missing of a plan: gives each step to the executor once what it reads is there."""

from __future__ import annotations

import signal
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from queue import Empty, SimpleQueue
from typing import Literal, Protocol

from whichbits.schema.step import Step
from whichbits.studies.execution.executor import Executor, StepFailed, Work
from whichbits.studies.execution.placement import Machine
from whichbits.studies.execution.ready_steps import ReadySteps
from whichbits.studies.execution.servers import Engine, Servers
from whichbits.studies.planning.plan import Plan
from whichbits.studies.planning.stages import process_of
from whichbits.studies.steps.planned import Planned
from whichbits.studies.steps.step import Kind, Result, Run
from whichbits.studies.store.store import Store

State = Literal["done", "failed"]
"""How a step has ended."""

INTERRUPTION_S = 0.2
"""How soon Ctrl-C is seen."""


class Observer(Protocol):
    """Is told what happens; called from several threads."""

    def added(self, steps: Sequence[Planned]) -> None:
        """These are to be run."""

    def started(self, step: Step) -> None:
        """The step began to run."""

    def progress(self, step: Step, text: str) -> None:
        """The step says how far it is."""

    def ended(self, step: Step, state: State, seconds: float, error: str | None, addresses: Sequence[str] = ()) -> None:
        """The step is done, with what was answered at these addresses, or has failed."""

    def note(self, text: str) -> None:
        """Something else happened, as a server starting."""


@dataclass
class Runner:
    """Runs the missing steps of a plan; `run` returns when all are done, failed, or stopped.

    A server is up from its first use to its last. What measures speed waits until all else has ended.
    """

    plan: Plan
    store: Store
    kinds: Mapping[str, Kind]
    executor: Executor
    engine: Engine
    observer: Observer
    machine: Machine = field(default_factory=Machine)
    preload: Sequence[str] = ()
    """Modules that steps take long to import."""
    failed: Collection[str] = ()
    """Keys of steps that have failed in this command already: they are not tried again."""
    more: Callable[[], Plan | None] | None = None
    """Is asked for more to run whenever all has ended, until it has none; servers of the last plan stay up until then."""
    split: Callable[[Sequence[Planned], int], Sequence[Planned]] = lambda steps, places: steps
    """The steps with long ones in shards, for so many places that run steps at once."""
    finished: SimpleQueue[tuple[Planned, Future[Result]]] = field(default_factory=SimpleQueue)
    """What has ended; a simulation brings its own, that moves its clock."""
    _states: dict[str, State] = field(default_factory=dict, init=False)
    _kept_up: set[str] = field(default_factory=set, init=False)
    _running: int = field(default=0, init=False)
    """How many steps run."""
    _asked: Counter[str] = field(default_factory=Counter, init=False)
    """How many of the steps that wait or run ask each server, by name."""
    _servers_of: dict[str, tuple[str, ...]] = field(default_factory=dict, init=False)
    """Servers that the steps may ask that have begun to run, or have been given to the executor, by key."""
    _begun: set[str] = field(default_factory=set, init=False)
    """Keys of the steps that run."""
    _shards: set[str] = field(default_factory=set, init=False)
    """Keys of steps that are shards of others."""

    def run(self) -> dict[str, State]:
        """How each step of the plan, and of `more`, has ended, by key; shards are counted with the step that they are of.

        Raises OSError where the store cannot be written, UserError where it cannot be read or may be another run's.
        """
        self._waiting = ReadySteps(partial(process_of, kinds=self.kinds), lambda planned: self.machine.turn(planned.needs))
        self.executor.start(self)
        engine = self.executor.engine(self.engine)
        self._servers = Servers(self.plan.served, self.store, engine, self.observer.note, self._servers_in_use)
        with _interruption() as interrupted:
            try:
                self._take(self.plan)
                while self._waiting or self._running or self._grown():
                    self.store.check_lock()
                    self._submit_ready()
                    self._close_unneeded_servers()
                    for planned, future in self._next_finished():
                        self._running -= 1
                        self._ended(planned, future)
                    if interrupted.is_set():
                        raise KeyboardInterrupt
            finally:
                self._servers.stop_starting()
                self.executor.stop()
                self._servers.close_all()
                self.executor.close()
        return {key: state for key, state in self._states.items() if key not in self._shards}

    # What steps are offered (executor.Services)

    def started(self, step: Step) -> None:
        """The step has begun to run."""
        self._begun.add(step.key)
        self.observer.started(step)

    def progress(self, step: Step, text: str) -> None:
        """The step says how far it is."""
        self.observer.progress(step, text)

    def server(self, name: str) -> str:
        """Address of a candidate's server, started if it is not up. Raises ServerFailed."""
        return self._servers.address(name)

    def server_failure(self, name: str) -> str | None:
        """Why a candidate's server has died; None while it lives."""
        return self._servers.failure(name)

    def server_silent(self, name: str) -> None:
        """A candidate's server has not answered in time: it is started anew before it is asked again."""
        self._servers.silent(name)

    def note(self, text: str) -> None:
        """Something has happened that people should know."""
        self.observer.note(text)

    def free_device(self) -> None:
        """Stop all servers, whose memory what computes needs."""
        self._servers.close_all()

    # Steps

    def _take(self, plan: Plan) -> None:
        """Have the steps of a plan wait that are missing and have not failed."""
        missing = {planned.step.key: planned for planned in plan.missing(self.store)}
        not_again = {*self.failed, *(key for key, state in self._states.items() if state == "failed")}
        self._states.update({planned.step.key: "done" for planned in plan.steps if planned.step.key not in missing})
        self._states.update({key: "failed" for key in missing if key in not_again})
        steps = self.split([one for key, one in missing.items() if key not in not_again], self.executor.places())
        shards = {one.step.key: one.step for one in steps if one.part_of is not None}
        self._shards.update(shards)
        done = {key for key, step in shards.items() if self.store.done(step)}
        self._states.update(dict.fromkeys(done, "done"))
        again = [one for one in steps if one.step.key not in done]
        self.observer.added(again)
        self._asked.update(name for planned in again for name in planned.needs.servers)
        self._waiting.add(again)
        if self.more is not None:
            self._kept_up = {name for planned in plan.steps for name in planned.needs.servers}

    def _grown(self) -> bool:
        """Whether there is more to run, now that all has ended."""
        while not self._waiting and self.more is not None:
            plan = self.more()
            if plan is None:
                self.more, self._kept_up = None, set()
                return False
            self._take(plan)
        return bool(self._waiting)

    def _submit_ready(self) -> None:
        """Give the executor all steps whose turn has come; those that share work together."""
        while group := self._waiting.take(idle=not self._running):
            if work := tuple(planned for planned in group if self._can_run(planned)):
                self._running += len(work)
                self._servers_of |= {planned.step.key: planned.needs.servers for planned in work}
                futures = self.executor.submit(Work(self._run_of(work[0]), work))
                for planned, future in zip(work, futures, strict=True):
                    future.add_done_callback(partial(self._note_finished, planned))

    def _run_of(self, planned: Planned) -> Run:
        """The function that runs a step, or merges its shards."""
        kind = planned.step.kind
        if not planned.merges:
            return self.kinds[kind].run
        return next(one.shards.merge for one in self.kinds.values() if one.shards is not None and one.shards.of == kind)

    def _servers_in_use(self) -> set[str]:
        """Names of the servers that running steps may ask."""
        return {name for key in tuple(self._begun) for name in self._servers_of.get(key, ())}

    def _note_finished(self, planned: Planned, future: Future[Result]) -> None:
        self.finished.put((planned, future))

    def _next_finished(self) -> Iterator[tuple[Planned, Future[Result]]]:
        """Steps that have ended since; waits a moment for the first."""
        with suppress(Empty):
            yield self.finished.get(timeout=INTERRUPTION_S)
            for _ in range(self.finished.qsize()):
                yield self.finished.get_nowait()

    def _can_run(self, planned: Planned) -> bool:
        """Whether what the step reads is done; if not, it fails with the first cause."""
        for step in planned.reads.values():
            if self._states.get(step.key) == "failed":
                needed = f"needs {step.kind} of {step.labels.candidate}, which failed"
                cause = (self.store.record(step).error if planned.merges else None) or needed
                self.store.fail(planned.step, None, cause)
                self._end(planned, "failed", 0.0, cause)
                return False
        return True

    def _ended(self, planned: Planned, future: Future[Result]) -> None:
        """Note how a step has ended; an error that is none of its own ends the run."""
        try:
            result = future.result()
        except StepFailed as error:
            self._end(planned, "failed", error.seconds, error.cause)
        else:
            self._end(planned, "done", result.provenance.seconds or 0.0, None, result.provenance.addresses)
            if planned.merges:
                self.store.discard((shard.kind, shard.key) for shard in planned.reads.values())

    def _end(self, planned: Planned, state: State, seconds: float, error: str | None, addresses: Sequence[str] = ()) -> None:
        self._states[planned.step.key] = state
        self._waiting.ended(planned.step)
        self._asked.subtract(planned.needs.servers)
        self._begun.discard(planned.step.key)
        self._servers_of.pop(planned.step.key, None)
        self.observer.ended(planned.step, state, seconds, error, addresses)

    def _close_unneeded_servers(self) -> None:
        """Stop the servers that no step needs any more, nor what may come after these."""
        if self._servers.up:
            self._servers.close_all(but={name for name, count in self._asked.items() if count}, of=self._kept_up)


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
