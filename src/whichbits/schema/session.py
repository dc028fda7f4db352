"""What steps of a measurement session take: a candidate and the base, measured side by side in rounds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from whichbits.schema.engine import EngineIdentity
from whichbits.schema.frozen import Stored
from whichbits.schema.inputs import EngineInputs, EngineLocal, Inputs
from whichbits.schema.served_weights import Agreement


class Servers(Inputs):
    """Who answers at addresses of the user's; None of servers that are started here."""

    if_given: ClassVar[frozenset[str]] = frozenset({"server", "base"})

    server: EngineIdentity | None = None
    """Of the candidate."""
    base: EngineIdentity | None = None


class Devices(Stored):
    """What is said to serve."""

    hardware: str
    count: int


class SessionInputs(EngineInputs):
    """A checkpoint and the base in an engine, in one round of a session."""

    base: Mapping[str, str]
    """SHA-256 of its files by name."""
    servers: Servers
    deployment: Devices
    repeat: int
    """Which round, from 0."""
    seed: int


class SessionLocal(EngineLocal):
    """The base's name in the study, and its folder."""

    base: str
    base_checkpoint: Path


class WeightsBehind(Stored):
    """What was found of the weights behind the addresses of a candidate and the base."""

    candidate: Agreement
    base: Agreement
