"""Inputs of a step, which its key is made of, and where they are on this machine.

Each kind of step has a class of its own for either, in the module of the kind. What a working package declares itself (a
format, a recipe, a task) is a type parameter there.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from pydantic import ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

from whichbits.schema.engine import Emulation, EngineIdentity, ServingEngine
from whichbits.schema.frozen import Frozen
from whichbits.schema.hardware import HardwareKey


class Inputs(Frozen):
    """Everything that can change a step's result; its JSON is hashed into the step's key."""

    model_config = ConfigDict(frozen=True, extra="forbid", serialize_by_alias=True)

    if_given: ClassVar[frozenset[str]] = frozenset()
    """Fields that the key has only where they are not None; any other is in every key."""

    @model_serializer(mode="wrap")
    def _without_what_is_not_given(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in handler(self).items() if value is not None or name not in self.if_given}


class Local(Frozen):
    """Where a step's inputs are on this machine, and what it may do here; no part of its key."""

    trust_remote_code: bool = False
    """Whether Python code may run that comes with the model."""


class EngineInputs(Inputs):
    """Inputs of steps that run a checkpoint in an engine."""

    if_given: ClassVar[frozenset[str]] = frozenset({"checkpoint", "copy", "server"})

    checkpoint: Mapping[str, str] | None = None
    """SHA-256 of its files by name; None where a step makes it."""
    copies: int | None = Field(default=None, serialization_alias="copy")
    """How many candidates before it have the same files, where there are some."""
    engine: ServingEngine | Emulation
    hardware: HardwareKey
    server: EngineIdentity | None = None
    """Who answers at an address of the user's; None of servers that are started here."""


class EngineLocal(Local):
    """Where steps that run a checkpoint in an engine find it."""

    checkpoint: Path | None = None
    """Its folder; None where a step makes it."""
    tokenizer: Path
