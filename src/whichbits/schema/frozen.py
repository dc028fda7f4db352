"""Base classes of the data that packages exchange."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """Immutable, and strict about its fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Stored(Frozen):
    """What results hold: a field that a store of another version has, and the class has not, is ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")
