"""Rounding to nearest, which looks at no data."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from whichbits.formats.grid.grid import grid_of
from whichbits.quantization.rounding.groups import from_groups, to_groups
from whichbits.quantization.rounding.rounder import Rounder, Unrounded

if TYPE_CHECKING:
    import torch

    from whichbits.formats.format import QuantizationArgs


class Nearest(Rounder):
    """Each weight to the nearest number of the grid."""

    calibrated: ClassVar[bool] = False

    def round(self, unrounded: Unrounded) -> torch.Tensor:
        """See `Rounder`."""
        return nearest(unrounded.weight, unrounded.scale, unrounded.args)


def nearest(weight: torch.Tensor, scale: torch.Tensor, args: QuantizationArgs) -> torch.Tensor:
    """Each weight to the nearest number of the grid under `scale`, float32 [rows, columns]."""
    groups = to_groups(weight.to(scale.dtype), args)
    rounded = grid_of(args).rounded(groups / scale.unsqueeze(2)).mul_(scale.unsqueeze(2))
    return from_groups(rounded, args, *weight.shape)
