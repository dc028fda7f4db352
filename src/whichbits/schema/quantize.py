"""What `quantize` steps return."""

from __future__ import annotations

from collections.abc import Mapping

from whichbits.schema.summary import Summary


class QuantizeSummary(Summary, kind="quantize"):
    """The checkpoint that a step made."""

    bytes: int
    bits_per_weight: float | None = None
    """With scales and zero points, over the linear layers of the decoder."""
    weights: int | None = None
    """Number of weights in these layers."""
    files: Mapping[str, str] = {}
    """SHA-256 by name."""
