"""The executor of this machine: a process of its own for each piece of work."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

from whichbits.core.environment import not_launched
from whichbits.core.processes import safe_environment, start_time
from whichbits.studies.execution.executor import Executor, Services, StepFailed, Work
from whichbits.studies.execution.placement import Placement
from whichbits.studies.execution.processes import MARK, Processes, answer
from whichbits.studies.steps.planned import Needs
from whichbits.studies.steps.step import Result


@dataclass
class _Queued:
    work: Work
    futures: tuple[Future[Result], ...]


@dataclass(frozen=True)
class _Placed:
    needs: Needs
    placement: Placement


TOGETHER = 2
"""Pieces of work that may ask one server at a time: the next one gets ready while one is asking."""


@dataclass
class LocalExecutor(Executor):
    """A process for each piece of work, in the order in which its part of the machine is free.

    Processes that an earlier, killed run left behind are killed first. Each process has this one's environment of the time when
    it begins.
    """

    _queue: list[_Queued] = field(default_factory=list, init=False)
    _placed: list[_Placed] = field(default_factory=list, init=False)
    """What runs."""
    _threads: list[threading.Thread] = field(default_factory=list, init=False)
    _served: tuple[str, ...] = field(default=(), init=False)
    """Servers of the work that was placed last."""
    _stopped: bool = field(default=False, init=False)
    _lock: threading.RLock = field(default_factory=threading.RLock, init=False)

    def start(self, services: Services) -> None:
        """Start what work is forked from, and the keeper."""
        self._services = services
        reap(services.store.folder)
        self._processes = Processes(services.store, services.preload)

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
            self._processes.stop()
        for one in queued:
            _fail(one.futures, StepFailed("stopped before it began"))
        for thread in self._threads:
            thread.join()
        self._processes.close()

    def _place(self) -> None:
        """Begin whatever queued work the free parts of the machine can take.

        Among what asks servers that comes first which asks those that the work before has asked: servers start slowly.
        """
        with self._lock:
            if self._stopped:
                return
            for queued in sorted(self._queue, key=self._order):
                needs = queued.work.steps[0].needs
                placement = self._free(needs)
                if placement is not None:
                    self._queue.remove(queued)
                    placed = _Placed(needs, placement)
                    self._placed.append(placed)
                    self._served = needs.servers or self._served
                    thread = threading.Thread(target=self._run, args=(queued, placed), name="work", daemon=True)
                    self._threads.append(thread)
                    thread.start()

    def _free(self, needs: Needs) -> Placement | None:
        """Where work with these needs can begin now; None where it has to wait."""
        for placement in self._services.machine.placements(needs):
            beside = [one for one in self._placed if one.placement.parts & placement.parts]
            if not beside or (len(beside) < TOGETHER and all(needs.shares(one.needs) for one in beside)):
                return placement
        return None

    def _order(self, queued: _Queued) -> tuple[int, bool]:
        needs = queued.work.steps[0].needs
        return self._services.machine.turn(needs), needs.servers != self._served

    def _run(self, queued: _Queued, placed: _Placed) -> None:
        """Run work in a process of its own, and answer it; an error of the store, or one of ours, is in its futures."""
        try:
            self._in_process(queued, placed.placement)
        except BaseException as error:  # noqa: BLE001 - carried over to whoever waits for the futures
            _fail(queued.futures, error)
        finally:
            with self._lock:
                self._placed.remove(placed)
            self._place()

    def _in_process(self, queued: _Queued, placement: Placement) -> None:
        services, work = self._services, queued.work
        if work.steps[0].needs.compute and services.machine.accelerator:
            services.free_device()
        futures = {planned.step.key: future for planned, future in zip(work.steps, queued.futures, strict=True)}

        def ended(key: str, outcome: Result | StepFailed) -> None:
            answer(futures[key], outcome)

        lost = self._processes.run(work, placement.cpus, safe_environment(not_launched(os.environ)), services, ended)
        if lost is not None:
            for job in lost.jobs:
                if not self._stopped:  # else it was killed on purpose
                    services.store.fail(job.step, job.directory, lost.cause)
                futures[job.step.key].set_exception(StepFailed(lost.cause))


def _fail(futures: tuple[Future[Result], ...], error: BaseException) -> None:
    for future in futures:
        if not future.done():
            future.set_exception(error)


def reap(store: Path) -> None:
    """Kill what runs on this store that were killed have left behind on this machine."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            for variable in (entry / "environ").read_bytes().split(b"\0"):
                name, _, value = variable.decode(errors="replace").partition("=")
                owner, _, folder = value.partition(" ")
                if name == MARK and folder == str(store.resolve()) and start_time(int(owner)) is None:
                    os.kill(int(entry.name), signal.SIGKILL)
