"""Rounding algorithms: from a weight to one on the format's grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from whichbits.formats.grid.e8m0 import E8M0
from whichbits.formats.grid.grid import grid_of
from whichbits.quantization.rounding.groups import from_groups, to_groups
from whichbits.quantization.rounding.scales import minmax_scales, mse_scales, storable_in, storable_under

if TYPE_CHECKING:
    import torch

    from whichbits.formats.format import QuantizationArgs
    from whichbits.quantization.recipe.recipe import ScaleSearch


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


def nearest(weight: torch.Tensor, scale: torch.Tensor, args: QuantizationArgs) -> torch.Tensor:
    """Each weight to the nearest number of the grid under `scale`, float32 [rows, columns]."""
    groups = to_groups(weight.to(scale.dtype), args)
    rounded = grid_of(args).rounded(groups / scale.unsqueeze(2)).mul_(scale.unsqueeze(2))
    return from_groups(rounded, args, *weight.shape)


def find_scale(
    weight: torch.Tensor,
    args: QuantizationArgs,
    *,
    scales: ScaleSearch,
    dtype: torch.dtype,
    global_scale: torch.Tensor | None = None,
    importance: torch.Tensor | None = None,
) -> torch.Tensor:
    """The scale of each group of weights, float32 [scale rows, scale columns], rounded to what a checkpoint can store.

    `weight` [rows, columns] of any float dtype, computed in float32. `dtype` is what scales are stored in where the format
    does not say. `global_scale` [1] belongs to NVFP4. `importance` float32 [columns] weighs the error of each column where
    `scales` is "activation".
    """
    import torch

    groups = to_groups(weight.to(torch.float32), args)
    if args.strategy == "tensor_group":
        if global_scale is None:
            raise ValueError("a tensor_group strategy needs a global scale")
        storable = storable_under(global_scale)
    else:
        storable = E8M0().rounded if args.scale_dtype else storable_in(dtype)
    if scales == "minmax":
        return minmax_scales(groups, args, storable)
    if scales == "mse":
        return mse_scales(groups, args, storable)
    if importance is None:
        raise ValueError("an activation-weighted search needs the importance of each column")
    rows = args.block_structure[0] if args.block_structure else 1
    return mse_scales(groups, args, storable, to_groups(importance.repeat(rows, 1), args))


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
