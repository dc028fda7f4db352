"""Rounding to nearest, which looks at no data."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from whichbits.quantization.rounding.rounder import Rounder, Unrounded
from whichbits.quantization.rounding.rounders import nearest

if TYPE_CHECKING:
    import torch


class Nearest(Rounder):
    """Each weight to the nearest number of the grid."""

    calibrated: ClassVar[bool] = False

    def round(self, unrounded: Unrounded) -> torch.Tensor:
        """See `Rounder`."""
        return nearest(unrounded.weight, unrounded.scale, unrounded.args)
