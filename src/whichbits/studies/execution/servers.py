"""The servers of a study: started when a step first asks for one, shared by all that ask, stopped after the last."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from whichbits.core.errors import UserError
from whichbits.studies.planning.plan import Served
from whichbits.studies.steps.step import ServerFailed
from whichbits.studies.store.store import Store

if TYPE_CHECKING:
    from whichbits.engines.vllm.command import EngineCommand
    from whichbits.engines.vllm.defaults import Settings
    from whichbits.hardware.machine import Hardware

BESIDE_WEIGHTS_MIB = 3072
"""Memory of a CPU server beside its weights and its cache of keys and values, generously."""

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


class Engine(Protocol):
    """Starts servers."""

    @property
    def resident(self) -> int:
        """How many may be up at once."""
        ...

    def serve(self, name: str, checkpoint: Path) -> AbstractContextManager[Server]:
        """Start a server for the checkpoint. Raises ServerFailed."""
        ...


@dataclass(frozen=True)
class ConfiguredEngine:
    """Starts the configured engine on a checkpoint; `resident` servers may be up at once."""

    command: EngineCommand
    settings: Settings
    logs: Path
    resident: int

    @contextmanager
    def serve(self, name: str, checkpoint: Path) -> Iterator[Server]:
        """Serve `checkpoint`; its log is named after the candidate. Raises ServerFailed."""
        from whichbits.engines.errors import EngineError
        from whichbits.engines.vllm.server import Server as EngineServer
        from whichbits.hardware.machine import processors

        server = EngineServer(
            self.command,
            checkpoint,
            arguments=self.settings.arguments,
            environment=self.settings.environment,
            log=self.logs / f"{name}.txt",
            cpus=processors(self.settings.server_cpus) if self.settings.server_cpus else None,
        )
        try:
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

    def serve(self, name: str, checkpoint: Path) -> AbstractContextManager[Server]:
        """There is none to start."""
        raise ServerFailed(f"no engine is configured that could serve {name}")


@dataclass
class Servers:
    """The servers of a study's candidates, by name; safe to ask from several threads."""

    served: Mapping[str, Served]
    store: Store
    engine: Engine
    note: Callable[[str], None]
    """Is told when one is started."""
    _open: dict[str, Server] = field(default_factory=dict, init=False)
    _stacks: dict[str, ExitStack] = field(default_factory=dict, init=False)
    _failures: dict[str, list[str]] = field(default_factory=dict, init=False)
    _lock: threading.RLock = field(default_factory=threading.RLock, init=False)

    def address(self, name: str) -> str:
        """Address of the candidate's server, started if it is not up. Raises ServerFailed."""
        served = self.served[name]
        if served.url is not None:
            return served.url
        with self._lock:
            failures = self._failures.setdefault(name, [])
            if (cause := self.failure(name)) is not None:
                failures.append(cause)
                self.close(name)
            if name not in self._open:
                if len(failures) >= FAILURES:
                    raise ServerFailed(f"the server of {name} failed {len(failures)} times in this run: {failures[-1]}")
                while len(self._open) >= self.engine.resident:
                    self.close(next(iter(self._open)))
                self.note(f"starting the server of {name}")
                stack = ExitStack()
                try:
                    self._open[name] = stack.enter_context(self.engine.serve(name, served.checkpoint(self.store)))
                except ServerFailed as error:
                    failures.append(str(error))
                    raise
                self._stacks[name] = stack
            return self._open[name].url

    def failure(self, name: str) -> str | None:
        """Why the candidate's server has died, in one line; None while it lives, or where none was started."""
        server = self._open.get(name)
        return None if server is None else server.failure()

    def close(self, name: str) -> None:
        """Stop the candidate's server, if it is up."""
        with self._lock:
            self._open.pop(name, None)
            stack = self._stacks.pop(name, None)
            if stack is not None:
                stack.close()

    def close_all(self) -> None:
        """Stop all servers."""
        for name in tuple(self._stacks):
            self.close(name)


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
