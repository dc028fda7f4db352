"""Servers on the nodes of a cluster: each is an actor that starts the engine where Ray has the devices for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from whichbits.studies.execution.processes import start_keeper
from whichbits.studies.execution.ray.members import UNPLACED_S, Members, only
from whichbits.studies.execution.servers import ConfiguredEngine
from whichbits.studies.steps.step import ServerFailed

if TYPE_CHECKING:
    from ray.actor import ActorHandle
    from ray.util.placement_group import PlacementGroup

    from whichbits.studies.execution.servers import Server

WAITING_S = 0.2
"""How soon it is seen that a server that starts is not wanted any more."""


class ServerActor:
    """On the node that serves: starts the engine at the node's own address, and ends it with itself."""

    def __init__(self, engine: ConfiguredEngine, name: str, checkpoint: Path) -> None:
        self._engine = engine
        self._name = name
        self._checkpoint = checkpoint
        self._stopping = threading.Event()

    def start(self) -> str:
        """Start it; its address. Raises ServerFailed."""
        environment = dict(self._engine.settings.environment)
        if gpus := ray.get_gpu_ids():
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, gpus))
        # Ray kills the children of an actor that ends, and so what would end the engine.
        self._keeper = start_keeper(self._engine.logs.parent)
        here = replace(
            self._engine,
            settings=replace(self._engine.settings, environment=environment),
            host=ray.util.get_node_ip_address(),  # type: ignore[no-untyped-call]
        )
        self._serving = here.serve(self._name, self._checkpoint, self._stopping)
        self._server: Server = self._serving.__enter__()
        return self._server.url

    def failure(self) -> str | None:
        """Why it has died, in one line; None while it lives."""
        return self._server.failure()

    def stop(self) -> None:
        """End it."""
        self._serving.__exit__(None, None, None)
        self._keeper.end()


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

    @contextmanager
    def serve(self, name: str, checkpoint: Path, stopping: threading.Event) -> Iterator[RemoteServer]:
        """Serve a checkpoint somewhere. Raises ServerFailed."""
        actor = self._placed(name, checkpoint, stopping)
        try:
            yield RemoteServer(_started(actor, stopping), actor)
        finally:
            _end(actor)

    def _placed(self, name: str, checkpoint: Path, stopping: threading.Event) -> ActorHandle[Any]:
        """An actor that a node has taken; one that waits is placed anew where nodes have come or gone. Raises ServerFailed."""
        held = time.monotonic()
        while True:
            able = self._able()
            actor = self._actor(name, checkpoint, able or self.members.ids)
            ready = [actor.__ray_ready__.remote()]
            while not ray.wait(ready, timeout=WAITING_S)[0]:
                held = time.monotonic() if able else held
                if stopping.is_set():
                    ray.kill(actor)
                    raise ServerFailed("stopped while it started")
                if time.monotonic() - held >= UNPLACED_S:
                    ray.kill(actor)
                    raise ServerFailed(
                        f"no living node of the cluster had {self._cpus} processors and {self.gpus} GPUs "
                        f"for a server for {UNPLACED_S:g} s"
                    )
                if self._able() != able:
                    break
            else:
                return actor
            ray.kill(actor)

    def _able(self) -> frozenset[str]:
        """Living nodes that can hold a server."""
        if self.group is not None and self.group.bundle_specs[0].get("GPU", 0) < self.gpus:
            return frozenset()
        cpus = 0 if self.group is not None else self._cpus
        return frozenset(one.id for one in self.members.living if one.cpus >= cpus and one.gpus >= self.gpus)

    def _actor(self, name: str, checkpoint: Path, allowed: frozenset[str]) -> ActorHandle[Any]:
        made: Any = ray.remote(ServerActor)
        there = replace(self.configured, logs=self.configured.logs.resolve())  # nodes have other working directories
        if self.group is None:
            made = made.options(num_cpus=self._cpus, num_gpus=self.gpus, label_selector=only(allowed))
        else:
            inside = PlacementGroupSchedulingStrategy(self.group, placement_group_bundle_index=0)
            made = made.options(num_cpus=0, num_gpus=self.gpus, scheduling_strategy=inside)
        actor: ActorHandle[Any] = made.remote(there, name, checkpoint.resolve())
        return actor


def _started(actor: ActorHandle[Any], stopping: threading.Event) -> str:
    """The server's address once it answers. Raises ServerFailed."""
    starting: ray.ObjectRef[str] = actor.start.remote()
    while not ray.wait([starting], timeout=WAITING_S)[0]:
        if stopping.is_set():
            ray.kill(actor)
            raise ServerFailed("stopped while it started")
    try:
        return ray.get(starting)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, ServerFailed):
            raise error.cause from None
        raise
    except ray.exceptions.RayActorError as error:
        raise ServerFailed("its node was lost") from error


def _end(actor: ActorHandle[Any]) -> None:
    """End a server in good order, and its actor."""
    try:
        ray.get(actor.stop.remote(), timeout=30.0)
    except (ray.exceptions.RayError, ray.exceptions.GetTimeoutError):
        pass
    finally:
        ray.kill(actor)
