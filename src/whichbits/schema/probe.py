"""What `probe` steps take and return."""

from __future__ import annotations

from pathlib import Path
from typing import Generic, Literal, TypeVar

from pydantic import BaseModel

from whichbits.schema.engine import EngineProgram
from whichbits.schema.hardware import HardwareKey
from whichbits.schema.inputs import Inputs, Local
from whichbits.schema.summary import Summary

Status = Literal["native", "reference", "refused"]
"""A kernel that computes in the format; one that computes in another, so that its speed says nothing; or none."""

FormatT = TypeVar("FormatT", bound=BaseModel)
"""A format, as `formats` declares it."""


class ProbeInputs(Inputs, Generic[FormatT]):
    """A format, and the engine that is asked."""

    format: FormatT
    group_size: int | None
    dtype: str
    """Of the base."""
    engine: EngineProgram
    hardware: HardwareKey


class ProbeLocal(Local):
    """How the engine is started, and the folder of a tokenizer."""

    command: tuple[str, ...]
    tokenizer: Path


class ProbeSummary(Summary, kind="probe"):
    """What an engine does with a format on this hardware."""

    status: Status
    kernel: str | None = None
    """Its name in the engine's log."""
    reason: str | None = None
    seconds: float | None = None
    """What asking took."""
