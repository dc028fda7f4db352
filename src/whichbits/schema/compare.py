"""What `compare` steps take and return."""

from __future__ import annotations

from typing import ClassVar

from whichbits.schema.frozen import Stored
from whichbits.schema.inputs import Inputs
from whichbits.schema.metrics import ChosenMeasures, Measured
from whichbits.schema.summary import Summary


class EncoderNames(Stored):
    """Folders or hub ids; None for the embedded encoder."""

    bertscore: str | None
    sts: str | None


class CompareInputs(Inputs, ChosenMeasures):
    """What texts are compared by; the texts are those of the steps that are read."""

    if_given: ClassVar[frozenset[str]] = ChosenMeasures.only_if_given

    encoders: EncoderNames


class CompareSummary(Summary, kind="compare"):
    """How alike the candidate's texts are to the base's, by each measure."""

    n: int
    """Texts."""
    measures: tuple[Measured, ...]
