"""The executor of a Ray cluster: Ray places each piece of work on a node that has what it needs."""

from __future__ import annotations

import os
import queue
import shlex
import threading
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy, PlacementGroupSchedulingStrategy

from whichbits.core.errors import UserError
from whichbits.engines.http.access import HEADERS_VARIABLE, KEY_VARIABLE
from whichbits.studies.execution import processes
from whichbits.studies.execution.executor import Executor, Services, StepFailed, Work
from whichbits.studies.execution.processes import answer, as_filed
from whichbits.studies.execution.ray.checks import Node, check_node, examine, examine_nodes, join, nodes
from whichbits.studies.execution.ray.mailbox import Answer, Asked, Mailbox, News, Question, Started
from whichbits.studies.execution.ray.node import Assignment, Report, run
from whichbits.studies.execution.ray.servers import RayEngine
from whichbits.studies.execution.ray.several import Others, share
from whichbits.studies.execution.servers import ConfiguredEngine, Engine
from whichbits.studies.execution.worker import cause_of
from whichbits.studies.steps.planned import Needs
from whichbits.studies.steps.step import Result, ServerFailed

if TYPE_CHECKING:
    from ray.actor import ActorHandle

ATTEMPTS = 3
"""Work whose process or node is lost so often has failed."""

WATCH_S = 5.0
"""How soon it is seen, while nothing else is heard, that nodes for work are missing."""

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


@dataclass(eq=False)
class _Piece:
    """Work on its way."""

    work: Work
    futures: dict[str, Future[Result]]
    """Of the steps without a result, by key."""
    attempts: int = 0
    node: str | None = None
    """Where it runs, once it does."""
    avoided: set[str] = field(default_factory=set)
    """Nodes where it was lost."""
    task: ray.ObjectRef[Report] | None = None
    group: PlacementGroup | None = None
    others: Others | None = None
    """Processes on further nodes that share its work."""
    left: dict[str, Path] = field(default_factory=dict)
    """What its last attempt has written of steps that have no result, by key."""

    @property
    def needs(self) -> Needs:
        return self.work.steps[0].needs


@dataclass
class RayExecutor(Executor):
    """Ray tasks for work and Ray actors for servers; a thread of this process hears of both.

    Work that asks servers is held back until its servers are among those that fit on the cluster, one piece a server, and on
    accelerators until what computes is done. All other waiting is Ray's.
    """

    _address: str | None = field(default=None, init=False)
    _waiting: list[_Piece] = field(default_factory=list, init=False)
    """What asks servers, and has not been given to Ray."""
    _running: dict[str, _Piece] = field(default_factory=dict, init=False)
    """By the keys of its steps."""
    _engine: RayEngine | None = field(default=None, init=False)
    _stopped: bool = field(default=False, init=False)
    _lock: threading.RLock = field(default_factory=threading.RLock, init=False)

    def connect(self, address: str | None) -> None:
        """Use the cluster at this address; by default the one of `RAY_ADDRESS`, or that this machine is a node of."""
        self._address = address

    def share(self, nodes: int) -> None:
        """Each step says how many nodes share it."""

    def start(self, services: Services) -> None:
        """Connect to the cluster, and examine its nodes. Raises UserError where they cannot run the study."""
        self._services = services
        self._nodes = join(self._address)
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        mailbox: Any = ray.remote(Mailbox)
        self._mailbox: ActorHandle[Any] = mailbox.options(num_cpus=0, scheduling_strategy=here).remote()
        machine = services.machine
        self._cores = len(machine.client or os.sched_getaffinity(0))
        own, store = examine(None), services.store
        try:
            for found, examined in examine_nodes(self._nodes, store):
                check_node(found, examined, own, store, cores=self._cores, serves=machine.serves)
        except UserError:
            ray.shutdown()
            raise
        ray.get(self._mailbox.ready.remote())
        self._task = ray.remote(max_retries=0, max_calls=0)(run)  # its worker is kept, also one with a GPU
        self._heard: queue.SimpleQueue[_Piece | None] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=target, daemon=True) for target in (self._listen, self._hear)]
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
            gpus = self._services.machine.devices if self._services.machine.accelerator else 0
            self._engine = RayEngine(configured, self._nodes, gpus)
            return self._engine
        return configured

    def places(self) -> int:
        """As many as the nodes have processors for, or GPUs."""
        machine = self._services.machine
        each = [
            int(node.gpus) // machine.devices if machine.accelerator else int(node.cpus) // self._cores for node in self._nodes
        ]
        return max(1, sum(each))

    def submit(self, work: Work) -> tuple[Future[Result], ...]:
        """Give work to Ray, or hold it back until its servers fit."""
        futures: dict[str, Future[Result]] = {planned.step.key: Future() for planned in work.steps}
        with self._lock:
            self._waiting.append(_Piece(work, futures))
            self._place()
        return tuple(futures.values())

    def stop(self) -> None:
        """Cancel what runs; its processes end with Ray's workers."""
        with self._lock:
            self._stopped = True
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

    def _pieces(self) -> list[_Piece]:
        return list(dict.fromkeys(self._running.values()))

    def _place(self) -> None:
        """Give Ray whatever need not be held back."""
        for piece in sorted(self._waiting, key=lambda piece: self._services.machine.turn(piece.needs)):
            if not self._stopped and self._fits(piece.needs):
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

    def _give(self, piece: _Piece) -> None:
        """Have Ray run work somewhere."""
        needs, machine = piece.needs, self._services.machine
        cores, gpus = (self._cores, int(machine.accelerator)) if needs.compute else (0 if needs.servers else 1, 0)
        if (needs.compute and gpus and not any(one.needs.servers for one in self._pieces())) or needs.alone:
            self._services.free_device()
        options: dict[str, object] = {"num_cpus": cores, "num_gpus": gpus}
        if needs.alone and self._engine is not None:
            piece.group = self._engine.group = _whole_node(self._nodes)
            inside = PlacementGroupSchedulingStrategy(piece.group, placement_group_bundle_index=0)
            options = {"num_cpus": 1, "scheduling_strategy": inside}
        elif piece.avoided and piece.avoided < {one.id for one in nodes()}:
            options["label_selector"] = {"ray.io/node-id": f"!in({','.join(sorted(piece.avoided))})"}
        piece.attempts += 1
        piece.node, piece.left = None, {}
        self._running.update(dict.fromkeys(piece.futures, piece))
        assignment = Assignment(
            Work(piece.work.run, tuple(one for one in piece.work.steps if one.step.key in piece.futures)),
            self._services.store.address,
            tuple(self._services.preload),
            self._cores,
            {name: os.environ[name] for name in PASSED_ON if name in os.environ},
        )
        several = min(needs.nodes, len(nodes()))
        if several > 1:
            each = {"CPU": float(cores), **({"GPU": float(gpus)} if gpus else {})}
            piece.task, piece.others = share(assignment, self._mailbox, several, each)
        else:
            piece.task = self._task.options(**options).remote(assignment, self._mailbox)
        piece.task.future().add_done_callback(lambda _: self._heard.put(piece))

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
        """Settle work whose task has ended, and see whether what waits for nodes can still have them."""
        while True:
            try:
                piece = self._heard.get(timeout=WATCH_S)
            except queue.Empty:
                self._give_up_waiting()
                continue
            if piece is None:
                return
            with self._lock:
                if self._stopped:
                    return
                self._task_ended(piece)
                self._place()

    def _give_up_waiting(self) -> None:
        """Cancel work that waits for more nodes than there are, which is no attempt of it; it goes to those that are left."""
        with self._lock:
            for piece in self._pieces():
                if not self._stopped and piece.others is not None and piece.others.beyond(len(nodes())):
                    piece.attempts -= 1
                    ray.cancel(piece.task, force=True)

    def _task_ended(self, piece: _Piece) -> None:
        beside = [] if piece.others is None else piece.others.end()
        piece.others = None
        if piece.group is not None and self._engine is not None:
            remove_placement_group(piece.group)
            piece.group = self._engine.group = None
        try:
            assert piece.task is not None
            report = ray.get(piece.task)
        except LOST as error:
            self._lost(piece, "; ".join([f"{type(error).__name__} on node {self._address_of(piece.node)}", *beside]))
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, OSError):
                self._lost(piece, f"the store on node {self._address_of(piece.node)}: {error.cause}", error.cause)
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
                self._lost(piece, "; ".join([f"{report.lost.cause} on node {self._address_of(piece.node)}", *beside]))

    def _settle(self, key: str, outcome: Result | StepFailed) -> None:
        piece = self._running.pop(key, None)
        if piece is not None:
            answer(piece.futures.pop(key), outcome)

    def _lost(self, piece: _Piece, cause: str, error: OSError | None = None) -> None:
        """Run again, elsewhere, what has no result; after the last attempt it has failed."""
        steps = {planned.step.key: planned.step for planned in piece.work.steps if planned.step.key in piece.futures}
        for key, step in steps.items():
            if self._services.store.done(step) and (filed := as_filed(self._services.store, step)) is not None:
                self._settle(key, filed)
        if not piece.futures:
            return
        if piece.node is not None:
            piece.avoided.add(piece.node)
        if piece.attempts < ATTEMPTS:
            self._services.note(f"lost: {cause}; attempt {piece.attempts + 1} of {ATTEMPTS}")
            self._give(piece)
        elif error is not None:
            self._fail(piece, error)
        else:
            cause = f"lost {piece.attempts} times, at last: {cause}"
            for key in piece.futures:
                self._services.store.fail(steps[key], piece.left.get(key), cause)
            self._fail(piece, StepFailed(cause))

    def _fail(self, piece: _Piece, error: BaseException) -> None:
        for key, future in piece.futures.items():
            self._running.pop(key, None)
            future.set_exception(error)
        piece.futures = {}

    def _address_of(self, id: str | None) -> str:
        found = next((one for one in self._nodes if one.id == id), None)
        return "unknown" if found is None else f"{found.address} ({found.id[:8]})"


def _whole_node(found: tuple[Node, ...]) -> PlacementGroup:
    """All of a node, for a measurement that has its device alone."""
    most = max(found, key=lambda one: (one.gpus, one.cpus))
    bundle = {"CPU": most.cpus, **({"GPU": most.gpus} if most.gpus else {})}
    group: PlacementGroup = placement_group([bundle], strategy="STRICT_PACK")
    return group
