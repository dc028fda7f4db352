"""The runner's servers: a study's settings over the engines' `Server`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from whichbits.core.errors import UserError
from whichbits.studies.execution.runner import Server
from whichbits.studies.steps.step import ServerFailed

if TYPE_CHECKING:
    from whichbits.engines.vllm.command import EngineCommand
    from whichbits.engines.vllm.defaults import Settings
    from whichbits.hardware.machine import Hardware

BESIDE_WEIGHTS_MIB = 3072
"""Memory of a CPU server beside its weights and its cache of keys and values, generously."""


@dataclass(frozen=True)
class EngineServers:
    """Starts the configured engine on a checkpoint; `resident` servers may be up at once."""

    command: EngineCommand
    settings: Settings
    logs: Path
    resident: int

    @contextmanager
    def open(self, name: str, checkpoint: Path) -> Iterator[Server]:
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


class NoServers:
    """For a study whose candidates are all served at addresses of their own, or not at all."""

    resident = 1

    def open(self, name: str, checkpoint: Path) -> AbstractContextManager[Server]:
        """There is none to start."""
        raise ServerFailed(f"no engine is configured that could serve {name}")


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
