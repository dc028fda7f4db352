"""What `distribution` steps take and return."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from whichbits.schema.inputs import EngineInputs, EngineLocal
from whichbits.schema.metrics import ChosenMeasures, Measured
from whichbits.schema.summary import Summary


class DistributionInputs(EngineInputs, ChosenMeasures):
    """A checkpoint, the base, and the text that their next-token distributions are compared on."""

    if_given: ClassVar[frozenset[str]] = EngineInputs.if_given | ChosenMeasures.only_if_given

    documents: str
    """Hash of the texts."""
    windows: int
    window_tokens: int
    base: Mapping[str, str]
    """SHA-256 of the base's files by name."""


class DistributionLocal(EngineLocal):
    """Where the base is, and the text."""

    base: Path
    documents: tuple[str, ...]


class DistributionSummary(Summary, kind="distribution"):
    """Next-token distributions of the candidate and the base on one text, by each measure."""

    n_tokens: int
    measures: tuple[Measured, ...]
