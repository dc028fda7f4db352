"""A weight on its format's grid, with the scales that a checkpoint holds, and how far it is from the original."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Rounded:
    """A weight on its format's grid.

    `weight` float32 [rows, columns]; `scale` float32 with the shape of the format's scales, as stored (for NVFP4 under
    `global_scale` [1], None elsewhere); `zero_point` of the same shape where the grid is asymmetric, else None; `errors`, of
    calibrated rounders alone, are the errors of the layer's output that this weight makes, and that the nearest of the same
    grid would make.
    """

    weight: torch.Tensor
    scale: torch.Tensor
    global_scale: torch.Tensor | None = None
    zero_point: torch.Tensor | None = None
    errors: tuple[float, float] | None = None


def stored_scale(scale: torch.Tensor, global_scale: torch.Tensor | None) -> torch.Tensor:
    """A scale as the checkpoint holds it: multiplied by NVFP4's `global_scale` where there is one."""
    return scale if global_scale is None else scale * global_scale


def relative_error(weight: torch.Tensor, rounded: torch.Tensor) -> float:
    """Frobenius norm of the difference over that of `weight`; 0 for a weight of zeros. Raises ArithmeticError for NaN."""
    import torch

    norm = torch.linalg.vector_norm(weight, dtype=torch.float64)
    difference = torch.linalg.vector_norm(rounded.to(torch.float32) - weight.to(torch.float32), dtype=torch.float64)
    if not bool(torch.isfinite(norm) & torch.isfinite(difference)):
        raise ArithmeticError("the rounded weight holds numbers that are not finite")
    return float(difference / norm) if norm > 0 else 0.0
