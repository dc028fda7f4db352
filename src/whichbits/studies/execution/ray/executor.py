"""The executor of a Ray cluster: Ray places each piece of work on a node that has what it needs."""

from __future__ import annotations

import os
import queue
import shlex
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import ray
from ray.util.placement_group import remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy, PlacementGroupSchedulingStrategy

from whichbits.core.errors import UserError
from whichbits.engines.http.access import HEADERS_VARIABLE, KEY_VARIABLE
from whichbits.studies.execution import processes
from whichbits.studies.execution.executor import Executor, Services, StepFailed, Work
from whichbits.studies.execution.processes import answer, as_filed
from whichbits.studies.execution.ray.checks import check_node, examine, examine_nodes, join
from whichbits.studies.execution.ray.mailbox import Answer, Asked, Mailbox, News, Question, Started
from whichbits.studies.execution.ray.members import UNPLACED_S, Members, only
from whichbits.studies.execution.ray.node import Assignment, run
from whichbits.studies.execution.ray.piece import Piece, largest, whole_nodes
from whichbits.studies.execution.ray.servers import RayEngine
from whichbits.studies.execution.ray.several import share
from whichbits.studies.execution.servers import ConfiguredEngine, Engine
from whichbits.studies.execution.worker import cause_of
from whichbits.studies.steps.planned import Needs
from whichbits.studies.steps.step import Result, ServerFailed

if TYPE_CHECKING:
    from ray.actor import ActorHandle

ATTEMPTS = 3
"""Work whose process or node is lost so often has failed."""

WATCH_S = 5.0
"""How soon it is seen that nodes have come or gone."""

STOPPING_S = 20.0
"""What Ray gets to end the workers of cancelled work."""

PASSED_ON = (KEY_VARIABLE, HEADERS_VARIABLE, "WHICHBITS_FORMATS", "WHICHBITS_HARDWARE", "HF_TOKEN", "HF_HUB_OFFLINE")
"""Variables of the study's environment that steps have on every node; all others are the node's own."""

LOST = (
    ray.exceptions.WorkerCrashedError,
    ray.exceptions.NodeDiedError,
    ray.exceptions.OutOfMemoryError,
    ray.exceptions.LocalRayletDiedError,
    ray.exceptions.ObjectLostError,
    ray.exceptions.TaskCancelledError,
)
"""What Ray says of a task whose worker or node is gone, or that of another node with a share of its work."""


@dataclass
class RayExecutor(Executor):
    """Ray tasks for work and Ray actors for servers; a thread of this process hears of both.

    Work that asks servers is held back until its servers are among those that fit on the cluster, one piece a server, and on
    accelerators until what computes is done. All other waiting is Ray's.
    """

    _address: str | None = field(default=None, init=False)
    _waiting: list[Piece] = field(default_factory=list, init=False)
    """What asks servers, and has not been given to Ray."""
    _running: dict[str, Piece] = field(default_factory=dict, init=False)
    """By the keys of its steps."""
    _engine: RayEngine | None = field(default=None, init=False)
    _stopped: threading.Event = field(default_factory=threading.Event, init=False)
    _lock: threading.RLock = field(default_factory=threading.RLock, init=False)

    def connect(self, address: str | None) -> None:
        """Use the cluster at this address; by default the one of `RAY_ADDRESS`, or that this machine is a node of."""
        self._address = address

    def share(self, nodes: int, field: str) -> None:
        """Each step says how many nodes share it, and the engine's arguments how many a server spans."""

    def start(self, services: Services) -> None:
        """Connect to the cluster, and examine its nodes. Raises UserError where they cannot run the study."""
        self._services = services
        found = join(self._address)
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        mailbox: Any = ray.remote(Mailbox)
        self._mailbox: ActorHandle[Any] = mailbox.options(num_cpus=0, scheduling_strategy=here).remote()
        machine = services.machine
        self._cores = len(machine.client or os.sched_getaffinity(0))
        store = services.store
        check = partial(check_node, own=examine(None), store=store, cores=self._cores, serves=machine.serves)
        try:
            for node, examined in examine_nodes(found, store):
                check(node, examined)
        except UserError:
            ray.shutdown()
            raise
        self._members = Members(found, store, check, services.note)
        ray.get(self._mailbox.ready.remote())
        self._task = ray.remote(max_retries=0, max_calls=0)(run)  # its worker is kept, also one with a GPU
        self._heard: queue.SimpleQueue[Piece | None] = queue.SimpleQueue()
        targets = (self._listen, self._hear, self._watch)
        self._threads = [threading.Thread(target=target, daemon=True) for target in targets]
        for thread in self._threads:
            thread.start()

    def engine(self, configured: Engine) -> Engine:
        """Servers are started on the nodes. Raises UserError where its command does not say at which address they listen."""
        if isinstance(configured, ConfiguredEngine):
            if not any("{host}" in word for word in configured.command.argv):
                ray.shutdown()
                raise UserError(
                    f"engine.command: {shlex.join(configured.command.argv)!r} does not say at which address it listens",
                    remedy="put {host} where the command takes the address",
                )
            self._engine = RayEngine(configured, self._members, self._services.machine.gpus_of_a_server)
            return self._engine
        return configured

    def places(self) -> int:
        """As many as the nodes that live now have processors for, or GPUs."""
        gpus, living = self._services.machine.gpus_of_a_server, self._members.living
        each = [int(node.gpus) // gpus if gpus else int(node.cpus) // self._cores for node in living]
        return max(1, sum(each) // (1 if self._engine is None else self._engine.nodes))

    def submit(self, work: Work) -> tuple[Future[Result], ...]:
        """Give work to Ray, or hold it back until its servers fit."""
        futures: dict[str, Future[Result]] = {planned.step.key: Future() for planned in work.steps}
        with self._lock:
            self._waiting.append(Piece(work, futures))
            self._place()
        return tuple(futures.values())

    def stop(self) -> None:
        """Cancel what runs; its processes end with Ray's workers."""
        with self._lock:
            self._stopped.set()
            pieces = [*self._waiting, *self._pieces()]
            self._waiting = []
            for piece in pieces:
                self._fail(piece, StepFailed("stopped before it ended"))
        tasks = [piece.task for piece in pieces if piece.task is not None]
        for task in tasks:
            ray.cancel(task, force=True)
        for others in (piece.others for piece in pieces if piece.others is not None):
            others.end()
        if tasks:
            ray.wait(tasks, num_returns=len(tasks), timeout=STOPPING_S)
        self._heard.put(None)
        ray.kill(self._mailbox)

    def close(self) -> None:
        """Leave the cluster; Ray ends the workers and actors of this study."""
        for thread in self._threads:
            thread.join()
        ray.shutdown()

    # Placing

    def _pieces(self) -> list[Piece]:
        return list(dict.fromkeys(self._running.values()))

    def _place(self) -> None:
        """Give Ray whatever need not be held back."""
        for piece in sorted(self._waiting, key=lambda piece: self._services.machine.turn(piece.needs)):
            if not self._stopped.is_set() and self._fits(piece.needs):
                self._waiting.remove(piece)
                self._give(piece)

    def _fits(self, needs: Needs) -> bool:
        """Whether the servers that work asks can be up next to those that are asked now."""
        if not needs.servers:
            return True
        running = [piece.needs for piece in self._pieces()]
        if self._services.machine.accelerator and any(one.compute for one in running):
            return False
        asked = {name for one in running for name in one.servers}
        resident = 1 if self._engine is None else self._engine.resident
        together = len(asked | set(needs.servers)) <= resident and not asked & set(needs.servers)
        return not asked or together

    def _size(self, needs: Needs) -> tuple[int, int]:
        """Processors and GPUs that work takes of a node."""
        if needs.compute:
            return self._cores, int(self._services.machine.accelerator)
        return (0 if needs.servers and not needs.alone else 1), 0

    def _wanted(self, piece: Piece) -> frozenset[str]:
        """The living nodes that it should go to; where there is another, none on which it was lost."""
        cpus, gpus = self._size(piece.needs)
        fitting = [node for node in self._members.living if node.cpus >= cpus and node.gpus >= gpus]
        if piece.needs.nodes == 1:
            fitting = [node for node in fitting if node.id not in piece.avoided] or fitting
        if piece.needs.alone and self._engine is not None:
            fitting = largest(fitting, self._engine.nodes)
        return frozenset(node.id for node in fitting)

    def _give(self, piece: Piece) -> None:
        """Have Ray run work somewhere; where no living node could hold it, it is kept until one can, or for long enough."""
        needs = piece.needs
        cpus, gpus = self._size(needs)
        self._running.update(dict.fromkeys(piece.futures, piece))
        piece.node, piece.task, piece.left, piece.withdrawn = None, None, {}, False
        piece.allowed = self._wanted(piece)
        if not piece.allowed:
            return
        if (needs.compute and gpus and not any(one.needs.servers for one in self._pieces())) or needs.alone:
            self._services.free_device()
        piece.attempts += 1
        piece.unplaced_since = None
        assignment = Assignment(
            Work(piece.work.run, tuple(one for one in piece.work.steps if one.step.key in piece.futures)),
            self._services.store.address,
            tuple(self._services.preload),
            self._cores,
            {name: os.environ[name] for name in PASSED_ON if name in os.environ},
        )
        several, there = min(needs.nodes, len(piece.allowed)), only(piece.allowed)
        if several > 1:
            each = {"CPU": float(cpus), **({"GPU": float(gpus)} if gpus else {})}
            piece.task, piece.others = share(assignment, self._mailbox, several, each, there)
        elif needs.alone and self._engine is not None:
            piece.group = self._engine.group = whole_nodes(self._members.of(piece.allowed), self._engine.nodes)
            inside = PlacementGroupSchedulingStrategy(piece.group, placement_group_bundle_index=0)
            options = self._task.options(num_cpus=cpus, scheduling_strategy=inside)
            piece.task = options.remote(assignment, self._mailbox)
        else:
            options = self._task.options(num_cpus=cpus, num_gpus=gpus, label_selector=there)
            piece.task = options.remote(assignment, self._mailbox)
        piece.task.future().add_done_callback(lambda _: self._heard.put(piece))

    # Nodes that come and go

    def _watch(self) -> None:
        """See which nodes come and go, until the end."""
        while not self._stopped.wait(WATCH_S):
            try:
                self._members.look()
            except (OSError, UserError):  # the store cannot be reached: whatever needs it says so; it is asked again here
                continue
            with self._lock:
                for piece in self._pieces():
                    if not self._stopped.is_set() and piece.node is None and not piece.withdrawn:
                        self._place_anew(piece)
                self._place()

    def _place_anew(self, piece: Piece) -> None:
        """Have work that has not begun go to nodes that have joined or are left; if none could hold it for long, it fails."""
        wanted = self._wanted(piece)
        if piece.task is None and wanted:
            self._give(piece)
        elif not wanted <= piece.allowed or (wanted and piece.others is not None and piece.others.beyond(len(wanted))):
            piece.withdrawn = True
            ray.cancel(piece.task, force=True)
        elif wanted:
            piece.unplaced_since = None
        elif piece.unplaced_since is None:
            piece.unplaced_since = time.monotonic()
        elif time.monotonic() - piece.unplaced_since >= UNPLACED_S:
            cpus, gpus = self._size(piece.needs)
            cause = f"no living node of the cluster had {cpus} processors and {gpus} GPUs for {UNPLACED_S:g} s"
            self._file_failure(piece, cause)
            if piece.task is not None:
                ray.cancel(piece.task, force=True)

    # What is heard of it

    def _listen(self) -> None:
        """Pass on what steps tell, and have their questions answered, until the mailbox is closed."""
        while True:
            try:
                taken: ray.ObjectRef[list[News | Asked]] = self._mailbox.take.remote()
                received = ray.get(taken)
            except ray.exceptions.RayError:
                return
            for message in received:
                match message:
                    case Asked(number, question):
                        threading.Thread(target=self._answer, args=(number, question), daemon=True).start()
                    case Started(step, where):
                        if (piece := self._running.get(step.key)) is not None:
                            piece.node = where
                        self._services.started(step)
                    case processes.ServerSilent(name):
                        self._services.server_silent(name)
                    case processes.Progress(step, text):
                        self._services.progress(step, text)
                    case processes.Ended(key, outcome):
                        with self._lock:
                            self._settle(key, outcome)

    def _answer(self, number: int, question: Question) -> None:
        found: Answer
        wanted = isinstance(question, processes.ServerWanted)
        try:
            found = self._services.server(question.name) if wanted else self._services.server_failure(question.name)
        except ServerFailed as error:
            found = error
        except Exception as error:  # noqa: BLE001 - who has asked waits for an answer, whatever has happened
            found = ServerFailed(cause_of(error))
        self._mailbox.answer.remote(number, found)

    def _hear(self) -> None:
        """Settle work whose task has ended."""
        while (piece := self._heard.get()) is not None:
            with self._lock:
                if self._stopped.is_set():
                    return
                self._task_ended(piece)
                self._place()

    def _task_ended(self, piece: Piece) -> None:
        beside = [] if piece.others is None else piece.others.end()
        piece.others = None
        if piece.group is not None and self._engine is not None:
            remove_placement_group(piece.group)
            piece.group = self._engine.group = None
        try:
            assert piece.task is not None
            report = ray.get(piece.task)
        except ray.exceptions.TaskUnschedulableError:  # the nodes that it might go to are gone, which is no attempt of it
            piece.attempts -= 1
            piece.task, piece.allowed, piece.withdrawn = None, frozenset(), False
        except LOST as error:
            self._lost(piece, "; ".join([f"{type(error).__name__} on node {self._members.name_of(piece.node)}", *beside]))
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, OSError):
                self._lost(piece, f"the store on node {self._members.name_of(piece.node)}: {error.cause}", error.cause)
            else:
                self._fail(piece, error.cause)
        except BaseException as error:  # noqa: BLE001 - carried over to whoever waits for the futures
            self._fail(piece, error)
        else:
            for key, outcome in report.ended.items():
                self._settle(key, outcome)
            if report.lost is not None:
                piece.node = report.node
                piece.left = {job.step.key: job.directory for job in report.lost.jobs}
                self._lost(piece, "; ".join([f"{report.lost.cause} on node {self._members.name_of(piece.node)}", *beside]))

    def _settle(self, key: str, outcome: Result | StepFailed) -> None:
        piece = self._running.pop(key, None)
        if piece is not None:
            answer(piece.futures.pop(key), outcome)

    def _lost(self, piece: Piece, cause: str, error: OSError | None = None) -> None:
        """Run again, elsewhere, what has no result; after the last attempt it has failed."""
        steps = {planned.step.key: planned.step for planned in piece.work.steps if planned.step.key in piece.futures}
        for key, step in steps.items():
            if self._services.store.done(step) and (filed := as_filed(self._services.store, step)) is not None:
                self._settle(key, filed)
        if not piece.futures:
            return
        self._members.refresh()
        if piece.withdrawn:
            piece.attempts -= 1
            self._give(piece)
            return
        if piece.node is not None:
            piece.avoided.add(piece.node)
        if piece.attempts < ATTEMPTS:
            self._services.note(f"lost: {cause}; attempt {piece.attempts + 1} of {ATTEMPTS}")
            self._give(piece)
        elif error is not None:
            self._fail(piece, error)
        else:
            self._file_failure(piece, f"lost {piece.attempts} times, at last: {cause}")

    def _file_failure(self, piece: Piece, cause: str) -> None:
        """Have it failed, and the store say why; where that cannot be written, the run ends with it."""
        error: Exception = StepFailed(cause)
        try:
            for planned in piece.work.steps:
                if (key := planned.step.key) in piece.futures:
                    self._services.store.fail(planned.step, piece.left.get(key), cause)
        except (OSError, UserError) as unwritten:
            error = unwritten
        self._fail(piece, error)

    def _fail(self, piece: Piece, error: BaseException) -> None:
        for key, future in piece.futures.items():
            self._running.pop(key, None)
            future.set_exception(error)
        piece.futures = {}
