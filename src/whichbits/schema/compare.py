"""What `compare` steps return."""

from __future__ import annotations

from whichbits.schema.metrics import Measured
from whichbits.schema.summary import Summary


class CompareSummary(Summary, kind="compare"):
    """How alike the candidate's texts are to the base's, by each measure."""

    n: int
    """Texts."""
    measures: tuple[Measured, ...]
