"""What a checkpoint runs in: an engine that is started here, a server at an address, or emulation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import JsonValue

from whichbits.schema.frozen import Stored

Arguments = Mapping[str, JsonValue]
"""Command-line options of an engine by name; their values are the engine's own."""


@dataclass(frozen=True)
class EngineIdentity:
    """A server and what it serves, as it says itself; None where it does not.

    address: its root. model: the served name. engine: vllm, sglang, llama.cpp, ... max_length: tokens of prompt and output
    together. root: the checkpoint that it says it serves. cache_dtype: number type of its key-value cache. Equal where all of
    these are, so it can be part of a key.
    """

    address: str
    model: str
    engine: str | None = None
    version: str | None = None
    max_length: int | None = None
    root: str | None = None
    cache_dtype: str | None = None


class EngineProgram(Stored):
    """An engine that is started here, and with what."""

    kind: Literal["vllm"] = "vllm"
    version: str
    command: tuple[str, ...] | None
    """The specification's own; None for the vLLM that is installed."""
    model_name: str
    arguments: Arguments
    environment: Mapping[str, str]


class StartedEngine(EngineProgram):
    """The same with how it is asked."""

    max_length: int
    """Longest request, tokens."""
    concurrency: int
    """Requests in flight while accuracy is scored."""


class EngineAtAddress(Stored):
    """A server of the user's: `EngineIdentity` says which."""

    kind: Literal["url"] = "url"
    max_length: int
    concurrency: int


class Emulation(Stored):
    """A format's arithmetic in transformers."""

    kind: Literal["emulated"] = "emulated"
    versions: Mapping[str, str]
    """Of the libraries that compute, by name."""
    threads: int


class OtherEngine(Stored):
    """An engine as a store of another version says it."""

    kind: str | None = None
    version: str | None = None


ServingEngine = StartedEngine | EngineAtAddress


def program(engine: StartedEngine) -> EngineProgram:
    """What is started, whatever it is asked."""
    return EngineProgram(
        version=engine.version,
        command=engine.command,
        model_name=engine.model_name,
        arguments=engine.arguments,
        environment=engine.environment,
    )
