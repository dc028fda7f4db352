"""What `generate` steps return."""

from __future__ import annotations

from whichbits.schema.served_weights import Agreement
from whichbits.schema.summary import Summary


class GenerateSummary(Summary, kind="generate"):
    """Greedy texts; they are in `items.parquet`."""

    n: int
    tokens: int
    """Of all texts together."""
    weights: Agreement | None = None
    """Of a server at an address."""
