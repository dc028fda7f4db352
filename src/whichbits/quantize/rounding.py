"""Rounding algorithms: from a weight to one on the format's grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from whichbits.quantize.grid import from_groups, round_to_grid, to_groups
from whichbits.quantize.scales import minmax_scales, mse_scales, storable_in, storable_power_of_two, storable_under

if TYPE_CHECKING:
    import torch

    from whichbits.formats.format import QuantizationArgs
    from whichbits.quantize.recipe import ScaleSearch


@dataclass(frozen=True)
class Rounded:
    """A weight on its format's grid.

    `weight` float32 [rows, columns]; `scale` float32 with the shape of the format's scales, as stored (for NVFP4 under
    `global_scale` [1], None elsewhere).
    """

    weight: torch.Tensor
    scale: torch.Tensor
    global_scale: torch.Tensor | None = None


def round_to_nearest(
    weight: torch.Tensor,
    args: QuantizationArgs,
    *,
    scales: ScaleSearch,
    dtype: torch.dtype,
    global_scale: torch.Tensor | None = None,
) -> Rounded:
    """Each weight to the nearest number of the grid, with min-max or error-minimising scales.

    `weight` [rows, columns] of any float dtype, computed in float32. `dtype` is what scales are stored in where the format
    does not say. `global_scale` [1] belongs to NVFP4.
    """
    import torch

    groups = to_groups(weight.to(torch.float32), args)
    if args.strategy == "tensor_group":
        if global_scale is None:
            raise ValueError("a tensor_group strategy needs a global scale")
        storable = storable_under(global_scale)
    else:
        storable = storable_power_of_two if args.scale_dtype else storable_in(dtype)
    search = mse_scales if scales == "mse" else minmax_scales
    scale = search(groups, args, storable)
    rounded = round_to_grid(groups / scale.unsqueeze(2), args).mul_(scale.unsqueeze(2))
    stored = scale if global_scale is None else scale * global_scale
    return Rounded(from_groups(rounded, args, *weight.shape), stored, global_scale)


def relative_error(weight: torch.Tensor, rounded: torch.Tensor) -> float:
    """Frobenius norm of the difference over that of `weight`; 0 for a weight of zeros."""
    import torch

    norm = torch.linalg.vector_norm(weight, dtype=torch.float64)
    difference = torch.linalg.vector_norm(rounded.to(torch.float32) - weight.to(torch.float32), dtype=torch.float64)
    return float(difference / norm) if norm > 0 else 0.0
