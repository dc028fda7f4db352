"""What `compare` steps take and return."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from whichbits.schema.frozen import Stored
from whichbits.schema.inputs import Inputs
from whichbits.schema.metrics import Measured
from whichbits.schema.summary import Summary


class EncoderNames(Stored):
    """Folders or hub ids; None for the embedded encoder."""

    bertscore: str | None
    sts: str | None


class CompareInputs(Inputs):
    """What texts are compared by; the texts are those of the steps that are read."""

    if_given: ClassVar[frozenset[str]] = frozenset({"measures", "packages"})

    encoders: EncoderNames
    measures: tuple[str, ...] | None = None
    """Names; None for all of ours."""
    packages: Mapping[str, str] | None = None
    """Versions of the packages that bring them; None where all are ours."""


class CompareSummary(Summary, kind="compare"):
    """How alike the candidate's texts are to the base's, by each measure."""

    n: int
    """Texts."""
    measures: tuple[Measured, ...]
