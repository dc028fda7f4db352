"""What `distribution` steps return."""

from __future__ import annotations

from whichbits.schema.metrics import Measured
from whichbits.schema.summary import Summary


class DistributionSummary(Summary, kind="distribution"):
    """Next-token distributions of the candidate and the base on one text, by each measure."""

    n_tokens: int
    measures: tuple[Measured, ...]
