"""What a study was served on, and at what price."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from whichbits.schema.engine import Arguments
from whichbits.schema.frozen import Frozen


class Deployment(Frozen):
    """Hardware with its price."""

    hardware: str
    """A device of the catalogue, or `this-machine`."""
    count: int = 1
    price_per_hour: float | None = None
    """US dollars for the whole."""
    price_source: str | None = None
    as_of: str | None = None
    """Date of the price, ISO 8601."""
    warnings: tuple[str, ...] = ()
    """What is to be said of the price."""


class EngineUsed(Frozen):
    """An engine, or a library that computes, with its version and what it was started with."""

    name: str
    version: str
    arguments: Arguments = Field(default_factory=dict)
    environment: Mapping[str, str] = {}
