"""Whether a server at an address serves the weights that are here."""

from __future__ import annotations

from typing import Literal

from whichbits.schema.frozen import Stored

FINER = 1 / 3
"""Nearer to float32 than this share of BF16's own distance is FP16 or float32, which round 8 times less or not at all."""
COARSER = 1.6
"""Farther from float32 than so many times the checkpoint's own distance: weights of 8 bits, or coarser kernels."""


class Agreement(Stored):
    """How near a server's log-probabilities are to those of the weights here: root mean squares, nats a token."""

    distance: float | None = None
    limit: float | None = None
    """What rounding explains."""
    from_float32: float | None = None
    """The same distance from the checkpoint's log-probabilities in float32."""
    rounding: float | None = None
    """Distance of the checkpoint's own arithmetic from float32."""
    reason: str | None = None
    """Why they were not compared, where `distance` is None."""

    @property
    def other(self) -> bool:
        """Whether the server serves other weights, or none that could be told from others."""
        return self.distance is not None and self.limit is not None and not self.distance <= self.limit

    @property
    def arithmetic(self) -> Literal["finer", "coarser"] | None:
        """How the server's arithmetic differs from the checkpoint's, where it can be told; None of other weights too."""
        if self.other or not self.rounding or self.from_float32 is None:
            return None
        if self.from_float32 < FINER * self.rounding:
            return "finer"
        return "coarser" if self.from_float32 > COARSER * self.rounding else None
