"""What `compare` steps return."""

from __future__ import annotations

from whichbits.schema.summary import Summary


class CompareSummary(Summary, kind="compare"):
    """Means over the texts of how alike the candidate's are to the base's, from 0 to 1."""

    n: int
    rouge1: float
    rougeL: float  # its name in the field
    bertscore: float
    sts: float
    """Cosine similarity of sentence embeddings."""
    identical: float | None = None
    """Share of texts that are the same to the last token."""
