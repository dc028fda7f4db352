"""What a specification says of speeds that were measured elsewhere."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from whichbits.schema.frozen import Written
from whichbits.schema.workload import WORKLOAD_NAME, Slo
from whichbits.studies.specification.engine import with_name
from whichbits.studies.specification.names import Name, mistake

UNKNOWN = "elsewhere, hardware not stated"
"""The deployment where nothing is said of the hardware."""


class Speeds(Written):
    """Speeds of the base and of candidates under one workload, as another tool wrote them."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    name: str
    """Of the workload."""
    files: Annotated[Mapping[str, Path], Field(alias="from", min_length=1)]
    """Results, or a folder of them, of each by its name; the base's is its format, as `bf16`, or `base`."""
    slo: Slo | None = None
    """Latency limits."""
    hardware: Name | None = None
    """What they were measured on, an id of `whichbits hardware`, for the price."""
    count: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    price_per_hour: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Of all devices, in dollars; default: the price list's, if it has this hardware."""

    @field_validator("name")
    @classmethod
    def _of_a_workload(cls, name: str) -> str:
        if not re.fullmatch(WORKLOAD_NAME, name):
            raise mistake(
                f"{name!r:.100} cannot be a workload's name", "write lower-case words joined by hyphens, e.g. support-chat"
            )
        return name

    @model_validator(mode="after")
    def _of_hardware(self) -> Self:
        if self.hardware is None and self.model_fields_set & {"count", "price_per_hour"}:
            raise mistake("`count` and `price_per_hour` are those of `hardware`, which is not given", "add `hardware:`")
        return self

    @property
    def deployment(self) -> str:
        """What the deployment is called: nothing that can be the name of the study's own."""
        return UNKNOWN if self.hardware is None else f"{self.count} × {self.hardware}"

    def of_base(self, base: str) -> Mapping[str, Path]:
        """The files, with the base's own name for `base`."""
        return with_name(self.files, base)
