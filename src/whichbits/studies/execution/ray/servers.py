"""Servers on the nodes of a cluster: each is an actor that starts the engine where Ray has the devices for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import ray
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from whichbits.core.errors import UserError
from whichbits.studies.execution.processes import start_keeper
from whichbits.studies.execution.ray.cores import turn_to_start
from whichbits.studies.execution.ray.members import UNPLACED_S, Members, only
from whichbits.studies.execution.servers import ConfiguredEngine
from whichbits.studies.planning.plan import Served
from whichbits.studies.steps.step import ServerFailed
from whichbits.studies.store.place import open_store
from whichbits.studies.store.store import Store

if TYPE_CHECKING:
    from ray.actor import ActorHandle
    from ray.util.placement_group import PlacementGroup

    from whichbits.studies.execution.servers import Server

WAITING_S = 0.2
"""How soon it is seen that a server that starts is not wanted any more."""


class ServerActor:
    """On the node that serves: fetches the checkpoint, starts the engine at the node's own address, and ends it with itself."""

    def __init__(self, engine: ConfiguredEngine, name: str, served: Served, store: str) -> None:
        self._engine = engine
        self._name = name
        self._served = served
        self._store = open_store(store)
        self._logs = self._store.folder / engine.logs.name
        self._stopping = threading.Event()
        self._started = ExitStack()

    def start(self) -> str:
        """Start it; its address. Raises ServerFailed, and OSError or UserError of the store."""
        environment = dict(self._engine.settings.environment)
        if gpus := ray.get_gpu_ids():
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, gpus))
        # Ray kills the children of an actor that ends, and so what would end the engine.
        self._started.callback(start_keeper(self._store.folder).end)
        here = replace(
            self._engine,
            settings=replace(self._engine.settings, environment=environment),
            host=ray.util.get_node_ip_address(),  # type: ignore[no-untyped-call]
            logs=self._logs,
        )
        self._served.checkpoint(self._store)  # fetched before the turn of others is taken
        with turn_to_start():
            serving = here.serve(self._name, self._served, self._store, self._stopping)
            self._server: Server = self._started.enter_context(serving)
        return self._server.url

    def failure(self) -> str | None:
        """Why it has died, in one line; None while it lives."""
        return self._server.failure()

    def stop(self) -> bytes:
        """End it; what it has printed, as its log may lie on this node alone."""
        self._started.close()
        log = self._logs / f"{self._name}.txt"
        return log.read_bytes() if log.is_file() else b""


@dataclass(frozen=True)
class RemoteServer:
    """A server on a node."""

    url: str
    actor: ActorHandle[Any]

    def failure(self) -> str | None:
        """Why it has died, in one line; None while it lives."""
        try:
            asked: ray.ObjectRef[str | None] = self.actor.failure.remote()
            return ray.get(asked)
        except ray.exceptions.RayActorError:
            return "its node was lost"


@dataclass
class RayEngine:
    """Starts the configured engine on nodes of the cluster."""

    configured: ConfiguredEngine
    members: Members
    gpus: int
    """GPUs that a server takes; 0 where processors serve."""
    group: PlacementGroup | None = field(default=None, init=False)
    """What a measurement session has reserved: its servers are started in there."""

    @property
    def resident(self) -> int:
        """How many servers fit on the cluster; in a measurement session, how many on its node."""
        if self.group is not None:
            return self.configured.resident
        if self.gpus:
            return max(1, sum(int(node.gpus) // self.gpus for node in self.members.living))
        return max(1, sum(node.cpus >= self._cpus for node in self.members.living))

    @property
    def _cpus(self) -> int:
        return 0 if self.gpus else len(self.configured.settings.server_cpus)

    @property
    def starting(self) -> int:
        """As many as there are nodes; those that Ray has placed on one node start one after another."""
        return 1 if self.group is not None else max(1, len(self.members.living))

    @contextmanager
    def serve(self, name: str, served: Served, store: Store, stopping: threading.Event) -> Iterator[RemoteServer]:
        """Serve a candidate somewhere. Raises ServerFailed, and OSError or UserError of the store."""
        folder = None if served.folder is None else served.folder.resolve()  # nodes have other working directories
        actor = self._placed(name, replace(served, folder=folder), store, stopping)
        try:
            yield RemoteServer(_started(actor, stopping), actor)
        finally:
            self._end(actor, name)

    def _placed(self, name: str, served: Served, store: Store, stopping: threading.Event) -> ActorHandle[Any]:
        """An actor that a node has taken; one that waits is placed anew where nodes have come or gone. Raises ServerFailed."""
        held = time.monotonic()
        while not stopping.wait(WAITING_S):
            if able := self._able():
                held = time.monotonic()
                actor = self._actor(name, served, store, able)
                if self._taken(actor, able, stopping):
                    return actor
                ray.kill(actor)
            elif time.monotonic() - held >= UNPLACED_S:
                size = f"{self._cpus} processors and {self.gpus} GPUs"
                raise ServerFailed(f"no living node of the cluster had {size} for a server for {UNPLACED_S:g} s")
        raise ServerFailed("stopped while it started")

    def _taken(self, actor: ActorHandle[Any], able: frozenset[str], stopping: threading.Event) -> bool:
        """Whether a node has taken an actor, before the nodes that are able to have changed."""
        ready: ray.ObjectRef[bool] = actor.__ray_ready__.remote()
        while not ray.wait([ready], timeout=WAITING_S)[0]:
            if stopping.is_set() or self._able() != able:
                return False
        try:
            return ray.get(ready)
        except ray.exceptions.RayError:  # a node that was lost as it took it
            return False

    def _able(self) -> frozenset[str]:
        """Living nodes that can hold a server."""
        if self.group is not None and self.group.bundle_specs[0].get("GPU", 0) < self.gpus:
            return frozenset()
        cpus = 0 if self.group is not None else self._cpus
        return frozenset(one.id for one in self.members.living if one.cpus >= cpus and one.gpus >= self.gpus)

    def _actor(self, name: str, served: Served, store: Store, allowed: frozenset[str]) -> ActorHandle[Any]:
        made: Any = ray.remote(ServerActor)
        if self.group is None:
            made = made.options(num_cpus=self._cpus, num_gpus=self.gpus, label_selector=only(allowed))
        else:
            inside = PlacementGroupSchedulingStrategy(self.group, placement_group_bundle_index=0)
            made = made.options(num_cpus=0, num_gpus=self.gpus, scheduling_strategy=inside)
        actor: ActorHandle[Any] = made.remote(self.configured, name, served, store.address)
        return actor

    def _end(self, actor: ActorHandle[Any], name: str) -> None:
        """End a server in good order, and its actor; its log is kept here too."""
        try:
            stopped: ray.ObjectRef[bytes] = actor.stop.remote()
            log = ray.get(stopped, timeout=30.0)
        except ray.exceptions.RayError:
            return
        finally:
            ray.kill(actor)
        self.configured.logs.mkdir(parents=True, exist_ok=True)
        (self.configured.logs / f"{name}.txt").write_bytes(log)


def _started(actor: ActorHandle[Any], stopping: threading.Event) -> str:
    """The server's address once it answers. Raises ServerFailed, and OSError or UserError of the store."""
    starting: ray.ObjectRef[str] = actor.start.remote()
    while not ray.wait([starting], timeout=WAITING_S)[0]:
        if stopping.is_set():
            ray.kill(actor)
            raise ServerFailed("stopped while it started")
    try:
        return ray.get(starting)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, (ServerFailed, OSError, UserError)):
            raise error.cause from None
        raise
    except ray.exceptions.RayActorError as error:
        raise ServerFailed("its node was lost") from error
