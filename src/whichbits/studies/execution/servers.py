"""The servers of a study: started when a step first asks for one, shared by all that ask, stopped after the last."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

from whichbits.core.errors import UserError
from whichbits.studies.planning.plan import Served
from whichbits.studies.steps.planned import candidate_of
from whichbits.studies.steps.step import ServerFailed
from whichbits.studies.store.store import Store

if TYPE_CHECKING:
    from whichbits.engines.vllm.command import EngineCommand
    from whichbits.engines.vllm.server_arguments import Settings
    from whichbits.hardware.this_machine import Hardware

BESIDE_WEIGHTS_MIB = 3072
"""Memory of a CPU server beside its weights and its cache of keys and values, generously."""

FAILURES = 2
"""A candidate whose server failed so often in a run, at its start or later, is not served again: each start takes a minute."""

SILENT = "it lived, and did not answer in time"


class Server(Protocol):
    """A server that is up, or was."""

    @property
    def url(self) -> str:
        """Its address."""
        ...

    def failure(self) -> str | None:
        """Why it has died, in one line; None while it lives."""
        ...


class Engine(Protocol):
    """Starts servers."""

    @property
    def resident(self) -> int:
        """How many may be up at once."""
        ...

    @property
    def starting(self) -> int:
        """How many may start at once: one a machine, as each wants memory and cores."""
        ...

    def serve(self, name: str, served: Served, store: Store, stopping: threading.Event) -> AbstractContextManager[Server]:
        """Start a server of a candidate, whose checkpoint may be a step's in the store.

        One that starts is given up once `stopping` is set. Raises ServerFailed, and OSError or UserError of the store.
        """
        ...


@dataclass(frozen=True)
class ConfiguredEngine:
    """Starts the configured engine on a checkpoint; `resident` servers may be up at once."""

    command: EngineCommand
    settings: Settings
    logs: Path
    resident: int
    host: str = "127.0.0.1"
    """Address of the machine that servers answer at."""
    starting: ClassVar[int] = 1

    @contextmanager
    def serve(self, name: str, served: Served, store: Store, stopping: threading.Event) -> Iterator[Server]:
        """Serve the candidate's checkpoint; the log has the name of the server. Raises ServerFailed."""
        from whichbits.engines.errors import EngineError
        from whichbits.engines.vllm.server import Server as EngineServer
        from whichbits.hardware.this_machine import processors

        checkpoint = served.checkpoint(store)
        try:
            server = EngineServer(
                self.command,
                checkpoint,
                arguments=self.settings.arguments,
                environment=self.settings.environment,
                log=self.logs / f"{name}.txt",
                cpus=processors(self.settings.server_cpus) if self.settings.server_cpus else None,
                host=self.host,
                stopping=stopping,
            )
            server.__enter__()
        except EngineError as error:
            raise ServerFailed(str(error)) from error
        try:
            yield server
        finally:
            server.stop()


class NoEngine:
    """For a study whose candidates are all served at addresses of their own, or not at all."""

    resident = 1
    starting = 1

    def serve(self, name: str, served: Served, store: Store, stopping: threading.Event) -> AbstractContextManager[Server]:
        """There is none to start."""
        raise ServerFailed(f"no engine is configured that could serve {name}")


@dataclass
class Servers:
    """The servers of a study's candidates, one or several each, by name; safe to ask from several threads."""

    served: Mapping[str, Served]
    store: Store
    engine: Engine
    note: Callable[[str], None]
    """Is told when one is started."""
    in_use: Callable[[], Collection[str]] = tuple
    """Names of those that running steps may ask: the last to be stopped to make room."""
    _open: dict[str, tuple[Server, ExitStack]] = field(default_factory=dict, init=False)
    _failures: dict[str, list[str]] = field(default_factory=dict, init=False)
    _silent: set[str] = field(default_factory=set, init=False)
    """Of those that are open."""
    _starting: set[str] = field(default_factory=set, init=False)
    """Names of those whose turn it is to be looked at, and started if need be."""
    _changed: threading.Condition = field(default_factory=threading.Condition, init=False)
    """Its lock is that of the fields above; held for moments, never while a server starts or stops."""
    _stopping: threading.Event = field(default_factory=threading.Event, init=False)

    def address(self, name: str) -> str:
        """Address of the candidate's server, started if it is not up. Raises ServerFailed."""
        served = self.served[candidate_of(name)]
        if served.url is not None:
            return served.url
        with self._turn(name):
            failures = self._failures.setdefault(name, [])
            if (cause := self.failure(name)) is not None:
                failures.append(cause)
                self._close(name)
            with self._changed:
                if name in self._open:
                    return self._open[name][0].url
            if len(failures) >= FAILURES:
                raise ServerFailed(f"the server of {name} failed {len(failures)} times in this run: {failures[-1]}")
            self._make_room()
            self.note(f"starting the server of {name}")
            stack = ExitStack()
            try:
                server = stack.enter_context(self.engine.serve(name, served, self.store, self._stopping))
            except ServerFailed as error:
                failures.append(str(error))
                raise
            with self._changed:
                self._open[name] = server, stack
            return server.url

    def failure(self, name: str) -> str | None:
        """Why the candidate's server has died, in one line; None while it lives, or where none was started."""
        with self._changed:
            server, _ = self._open.get(name, (None, None))
            silent = name in self._silent
        if server is None:
            return None
        return server.failure() or (SILENT if silent else None)

    def silent(self, name: str) -> None:
        """The candidate's server has not answered in time: it counts as failed, though it lives."""
        with self._changed:
            if name in self._open:
                self._silent.add(name)

    @property
    def up(self) -> bool:
        """Whether there is one."""
        return bool(self._open)

    def close_all(self, but: Collection[str] = (), of: Collection[str] = ()) -> None:
        """Stop all servers but these, and those of some candidates."""
        for name in tuple(self._open):
            if name not in but and candidate_of(name) not in of:
                self._close(name)

    def stop_starting(self) -> None:
        """Give up a server that is starting, and start no other."""
        self._stopping.set()
        with self._changed:
            self._changed.notify_all()

    @contextmanager
    def _turn(self, name: str) -> Iterator[None]:
        """Nobody else looks at this server meanwhile, and no more are starting than may. Raises ServerFailed at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopping.is_set() or self._free(name))
            if self._stopping.is_set():
                raise ServerFailed("stopped before it began")
            self._starting.add(name)
        try:
            yield
        finally:
            with self._changed:
                self._starting.discard(name)
                self._changed.notify_all()

    def _free(self, name: str) -> bool:
        at_once = max(1, min(self.engine.starting, self.engine.resident))
        return name not in self._starting and len(self._starting) < at_once

    def _make_room(self) -> None:
        """Stop servers until those that are left fit next to those that are starting, such first as nobody may ask."""
        while True:
            with self._changed:
                up = [name for name in self._open if name not in self._starting]
                if not up or len({*up, *self._starting}) <= self.engine.resident:
                    return
                used = self.in_use()
                stack = self._pop(next((name for name in up if name not in used), up[0]))
            if stack is not None:
                stack.close()

    def _pop(self, name: str) -> ExitStack | None:
        """What stops a server, which counts as stopped from now on; the caller holds the lock."""
        _, stack = self._open.pop(name, (None, None))
        self._silent.discard(name)
        return stack

    def _close(self, name: str) -> None:
        with self._changed:
            stack = self._pop(name)
        if stack is not None:
            stack.close()


def resident_servers(hardware: Hardware, settings: Settings, weights: Mapping[str, int]) -> int:
    """How many servers fit at once: one where a GPU serves, else as many of these weights (bytes) as memory holds."""
    if hardware.gpus:
        return 1
    given = settings.environment.get("VLLM_CPU_KVCACHE_SPACE", "4")
    if not given.isdecimal():
        raise UserError(
            f"engine.environment.VLLM_CPU_KVCACHE_SPACE: {given!r} is no whole number",
            remedy="give the cache's size in whole GiB, such as 4",
        )
    cache = int(given) * 1024
    each = max(weights.values(), default=0) // 2**20 + cache + BESIDE_WEIGHTS_MIB
    return max(1, hardware.memory_mib * 3 // 4 // each)
