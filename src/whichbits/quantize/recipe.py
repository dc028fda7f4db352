"""How a checkpoint of a format is made, as data."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, PositiveInt

ScaleSearch = Literal["minmax", "mse", "activation"]


class Recipe(BaseModel):
    """How a checkpoint is made: rounding, scale search, the size of a weight group (None: the format's rule), seed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rounding: Literal["rtn"] = "rtn"
    scales: Literal["minmax", "mse"] = "mse"
    group_size: PositiveInt | None = None
    seed: int = 0
