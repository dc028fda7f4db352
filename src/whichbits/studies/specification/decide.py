"""What a specification says of stopping where nothing is left to decide."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from whichbits.schema.early_stopping import FUTILITY
from whichbits.schema.frozen import Written


class Decide(Written):
    """How evaluation stops where nothing is left to decide."""

    method: Literal["group-sequential"] = "group-sequential"
    looks: Annotated[int, Field(ge=2, le=100)] = 20
    """How often results are looked at, at most. Where one server fits at a time each look starts all: fewer are faster."""
    budget: PositiveInt | None = None
    """Most items of all tasks together that are asked of a candidate; default: all that there are."""
    futility: Annotated[float, Field(ge=0, lt=0.5)] = FUTILITY
    """A candidate is given up where the chance that all items decide it is smaller; 0 never gives up."""
