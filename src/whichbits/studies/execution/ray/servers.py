"""Servers on the nodes of a cluster: each is an actor that starts the engine where Ray has the devices for it.

A server that spans several nodes is an actor on each; vLLM's processes find each other as `torchrun`'s do.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import ray
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from whichbits.core.errors import UserError
from whichbits.engines.vllm.server_arguments import NODES
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


@dataclass(frozen=True)
class Spanning:
    """A node's part of a server that spans several."""

    rank: int
    address: str
    """The first node's."""
    port: int
    """There it waits for the others."""


class ServerActor:
    """On a node that serves: fetches the checkpoint, starts the engine at the node's own address, and ends it with itself."""

    def __init__(self, engine: ConfiguredEngine, log: str, served: Served, store: str) -> None:
        self._engine = engine
        self._log = log
        self._served = served
        self._store = open_store(store)
        self._logs = self._store.folder / engine.logs.name
        self._stopping = threading.Event()
        self._started = ExitStack()
        self._server: Server | None = None

    def meeting(self) -> tuple[str, int]:
        """This node's address, and a port that nobody listens at."""
        from whichbits.engines.vllm.server import free_port

        return here(), free_port(here())

    def start(self, part: Spanning | None = None) -> str:
        """Start it, or a node's part of it; its address. Raises ServerFailed, and OSError or UserError of the store."""
        from whichbits.engines.vllm.server_arguments import on_node

        settings = self._engine.settings
        environment = dict(settings.environment)
        if part is not None:
            environment["VLLM_HOST_IP"] = here()
            settings = replace(settings, arguments=on_node(settings.arguments, part.rank, part.address, part.port))
        if gpus := ray.get_gpu_ids():
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, gpus))
        # Ray kills the children of an actor that ends, and so what would end the engine.
        self._started.callback(start_keeper(self._store.folder).end)
        engine = replace(self._engine, settings=replace(settings, environment=environment), host=here(), logs=self._logs)
        self._served.checkpoint(self._store)  # fetched before the turn of others is taken
        # The first node of a server has the turn while it waits for the others.
        with turn_to_start() if part is None or part.rank == 0 else nullcontext():
            serving = engine.serve(self._log, self._served, self._store, self._stopping)
            self._server = self._started.enter_context(serving)
        return self._server.url

    def failure(self) -> str | None:
        """Why it has died, in one line; None while it lives."""
        return None if self._server is None else self._server.failure()

    def stop(self) -> bytes:
        """End it; what it has printed, as its log may lie on this node alone."""
        self._started.close()
        log = self._logs / f"{self._log}.txt"
        return log.read_bytes() if log.is_file() else b""


def here() -> str:
    """This node's address."""
    address: str = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
    return address


@dataclass(frozen=True)
class RemoteServer:
    """A server on a node, or on several of which the first answers."""

    url: str
    actors: Sequence[ActorHandle[Any]]

    def failure(self) -> str | None:
        """Why it, or its part on a node, has died, in one line; None while all live."""
        try:
            return _lost_part(self.actors)
        except ray.exceptions.RayActorError:
            return "its node was lost"


@dataclass
class RayEngine:
    """Starts the configured engine on nodes of the cluster."""

    configured: ConfiguredEngine
    members: Members
    gpus: int
    """GPUs that a server takes of each node that it spans; 0 where processors serve."""
    group: PlacementGroup | None = field(default=None, init=False)
    """What a measurement session has reserved, a bundle a node: its servers are started in there."""

    @property
    def nodes(self) -> int:
        """How many nodes a server spans."""
        return int(str(self.configured.settings.arguments.get(NODES, 1)))

    @property
    def resident(self) -> int:
        """How many servers fit on the cluster; in a measurement session, how many on its nodes."""
        if self.group is not None:
            return self.configured.resident
        each = [int(node.gpus) // self.gpus if self.gpus else int(node.cpus >= self._cpus) for node in self.members.living]
        return max(1, sum(each) // self.nodes)

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
        with self._placed(name, replace(served, folder=folder), store, stopping) as actors:
            try:
                yield RemoteServer(_started(actors, stopping), actors)
            finally:
                for actor, log in zip(actors, self._logs(name), strict=True):
                    self._end(actor, log)

    @contextmanager
    def _placed(
        self, name: str, served: Served, store: Store, stopping: threading.Event
    ) -> Iterator[Sequence[ActorHandle[Any]]]:
        """Actors that nodes have taken; such as wait are placed anew where nodes have come or gone. Raises ServerFailed."""
        held = time.monotonic()
        while not stopping.wait(WAITING_S):
            if able := self._able():
                held = time.monotonic()
                with self._reserved(able) as group:
                    actors = self._actors(name, served, store, able, group)
                    if self._taken(actors, able, stopping):
                        yield actors
                        return
                    for actor in actors:
                        ray.kill(actor)
            elif time.monotonic() - held >= UNPLACED_S:
                wanted = "living node" if self.nodes == 1 else f"{self.nodes} living nodes"
                size = f"{self._cpus} processors and {self.gpus} GPUs"
                raise ServerFailed(f"no {wanted} of the cluster had {size} for a server for {UNPLACED_S:g} s")
        raise ServerFailed("stopped while it started")

    def _taken(self, actors: Sequence[ActorHandle[Any]], able: frozenset[str], stopping: threading.Event) -> bool:
        """Whether nodes have taken all actors, before the nodes that are able to have changed."""
        ready: list[ray.ObjectRef[bool]] = [actor.__ray_ready__.remote() for actor in actors]
        while ray.wait(ready, num_returns=len(ready), timeout=WAITING_S)[1]:
            if stopping.is_set() or self._able() != able:
                return False
        try:
            return all(ray.get(ready))
        except ray.exceptions.RayError:  # a node that was lost as it took it
            return False

    def _able(self) -> frozenset[str]:
        """Living nodes that can hold a server, or a node's part of it; none where they are fewer than it spans."""
        if self.group is not None and self.group.bundle_specs[0].get("GPU", 0) < self.gpus:
            return frozenset()
        cpus = 0 if self.group is not None else self._cpus
        able = frozenset(one.id for one in self.members.living if one.cpus >= cpus and one.gpus >= self.gpus)
        return able if len(able) >= self.nodes else frozenset()

    @contextmanager
    def _reserved(self, able: frozenset[str]) -> Iterator[PlacementGroup | None]:
        """A bundle of resources on each node that a server spans: a session's, its own, or None where one node takes it."""
        if self.group is not None or self.nodes == 1:
            yield self.group
            return
        bundle = {name: float(count) for name, count in (("CPU", self._cpus), ("GPU", self.gpus)) if count}
        group = placement_group(
            [bundle] * self.nodes, strategy="STRICT_SPREAD", bundle_label_selector=[only(able)] * self.nodes
        )
        try:
            yield group
        finally:
            remove_placement_group(group)

    def _actors(
        self, name: str, served: Served, store: Store, allowed: frozenset[str], group: PlacementGroup | None
    ) -> Sequence[ActorHandle[Any]]:
        """One a node, the first first."""
        made: Any = ray.remote(ServerActor)
        cpus = 0 if self.group is not None else self._cpus  # a session's servers have the processors that it has reserved
        places: list[dict[str, Any]] = [{"label_selector": only(allowed)}]
        if group is not None:
            bundles = [PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=at) for at in range(self.nodes)]
            places = [{"scheduling_strategy": bundle} for bundle in bundles]
        return [
            made.options(num_cpus=cpus, num_gpus=self.gpus, **place).remote(self.configured, log, served, store.address)
            for log, place in zip(self._logs(name), places, strict=True)
        ]

    def _logs(self, name: str) -> list[str]:
        """What the logs of a server's nodes are called."""
        return [name, *(f"{name}, node {number}" for number in range(2, self.nodes + 1))]

    def _end(self, actor: ActorHandle[Any], log: str) -> None:
        """End a server in good order, and its actor; its log is kept here too."""
        try:
            stopped: ray.ObjectRef[bytes] = actor.stop.remote()
            printed = ray.get(stopped, timeout=30.0)
        except ray.exceptions.RayError:
            return
        finally:
            ray.kill(actor)
        self.configured.logs.mkdir(parents=True, exist_ok=True)
        (self.configured.logs / f"{log}.txt").write_bytes(printed)


def _started(actors: Sequence[ActorHandle[Any]], stopping: threading.Event) -> str:
    """The server's address once it answers. Raises ServerFailed, and OSError or UserError of the store."""
    try:
        starts: dict[ray.ObjectRef[str], ActorHandle[Any]] = {
            actor.start.remote(part): actor for actor, part in zip(actors, _parts(actors), strict=True)
        }
        answering, starting = next(iter(starts)), list(starts)
        while answering in starting:
            ended, starting = ray.wait(starting, timeout=WAITING_S)
            ray.get(ended)
            begun = [actor for start, actor in starts.items() if start not in starting]
            if (cause := _lost_part(begun)) is not None:  # the first would wait for it
                raise ServerFailed(cause)
            if stopping.is_set():
                for actor in actors:
                    ray.kill(actor)
                raise ServerFailed("stopped while it started")
        return ray.get(answering)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, (ServerFailed, OSError, UserError)):
            raise error.cause from None
        raise
    except ray.exceptions.RayActorError as error:
        raise ServerFailed("its node was lost") from error


def _parts(actors: Sequence[ActorHandle[Any]]) -> list[Spanning | None]:
    """What each node is told of the server that spans them; nothing where it is one node."""
    if len(actors) == 1:
        return [None]
    meeting: ray.ObjectRef[tuple[str, int]] = actors[0].meeting.remote()
    address, port = ray.get(meeting)
    return [Spanning(rank, address, port) for rank in range(len(actors))]


def _lost_part(actors: Sequence[ActorHandle[Any]]) -> str | None:
    """Why a node's part of a server, which has begun, has ended; None while all live."""
    asked: list[ray.ObjectRef[str | None]] = [actor.failure.remote() for actor in actors]
    return next((cause for cause in ray.get(asked) if cause is not None), None)
