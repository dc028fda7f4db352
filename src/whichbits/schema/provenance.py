"""Where and with what a step ran."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import SerializerFunctionWrapHandler, model_serializer

from whichbits.schema.compare import EncoderNames
from whichbits.schema.engine import Emulation, EngineIdentity, EngineProgram, OtherEngine, ServingEngine
from whichbits.schema.frozen import Stored


class Provenance(Stored):
    """What of a run is no part of its step's key, and what of the key readers compare; what a kind does not state is None.

    Only what was given is written.
    """

    whichbits: str | None = None
    """Versions."""
    python: str | None = None
    cpus: tuple[int, ...] | None = None
    """Cores that it could use; None for all."""
    seconds: float | None = None
    """Wall-clock time."""
    finished_at: str | None = None
    """UTC, ISO 8601."""
    seed: int | None = None
    engine: ServingEngine | Emulation | EngineProgram | OtherEngine | str | None = None
    """Of imported scores in their tool's words."""
    imported: str | None = None
    """Path that scores were imported from."""
    tool: str | None = None
    """What had written them."""
    server: EngineIdentity | None = None
    """Who served the checkpoint."""
    token_counts: str | None = None
    """Who counted generated tokens: `engine` or `tokenizer`."""
    earlier_items: int | None = None
    """Of an evaluation: items that were kept from an earlier result."""
    earlier_seconds: float | None = None
    """What these had taken."""
    shards: int | None = None
    """Of a step whose items ran in shards: how many."""
    encoders: EncoderNames | None = None
    """Of a comparison of texts."""
    versions: Mapping[str, str] | None = None
    """Of a checkpoint: the libraries that made it."""
    made_with: tuple[str, ...] | None = None
    """Candidates whose checkpoints came of the same pass."""
    session: str | None = None
    """Measurement session."""
    servers: Mapping[str, EngineIdentity] | None = None
    """Of a speed: who served the candidate and the base, by role; of shards at several servers: who served each."""
    packages: Mapping[str, str] | None = None
    """Of a speed: versions of the packages that bring metrics."""
    measured_at: float | None = None
    """Seconds since 1970."""

    @model_serializer(mode="wrap")
    def _what_was_given(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in handler(self).items() if name in self.model_fields_set}

    @property
    def all_seconds(self) -> float:
        """Of the run, and of those before it whose items it has."""
        return (self.seconds or 0.0) + (self.earlier_seconds or 0.0)

    @property
    def addresses(self) -> tuple[str, ...]:
        """Of the servers that gave the result, each once."""
        servers = [self.server, *(self.servers or {}).values()]
        return tuple(dict.fromkeys(server.address for server in servers if server is not None))
