"""Integer grids that need not lie evenly about zero: a zero point beside each scale."""

from __future__ import annotations

from typing import TYPE_CHECKING

from whichbits.formats.grid.integer import Integer
from whichbits.quantization.rounding.groups import from_groups, to_groups
from whichbits.quantization.rounding.scales import CHUNK_WEIGHTS, ERROR_EXPONENT, SHRINK, storable_in

if TYPE_CHECKING:
    import torch

    from whichbits.formats.format import QuantizationArgs
    from whichbits.quantization.recipe.recipe import ScaleSearch
    from whichbits.quantization.rounding.scales import Storable


def find_range(
    weight: torch.Tensor,
    args: QuantizationArgs,
    *,
    scales: ScaleSearch,
    dtype: torch.dtype,
    importance: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Scale and zero point of each group of weights, float32 [scale rows, scale columns] each; the zero point is a whole code.

    A code q stands for (q - zero point) scale. Min-max lays the range from the smallest to the largest weight of the group,
    zero always within; a search tries parts of that range. Arguments otherwise as `rounding.find_scale`.
    Source: compressed-tensors' `calculate_qparams`, which readers of the checkpoint follow.
    """
    import torch

    groups = to_groups(weight.to(torch.float32), args)
    weights = None
    if scales == "activation":
        if importance is None:
            raise ValueError("an activation-weighted search needs the importance of each column")
        weights = to_groups(importance.repeat(1, 1), args)
    multiples = (1.0,) if scales == "minmax" else (1.0, *(multiple for multiple in SHRINK if multiple < 1))
    rows = max(1, CHUNK_WEIGHTS // (groups.shape[1] * groups.shape[2]))
    parts = [_search(chunk, args, storable_in(dtype), multiples, weights) for chunk in torch.split(groups, rows)]
    return torch.cat([scale for scale, _ in parts]), torch.cat([zero for _, zero in parts])


def _search(
    groups: torch.Tensor,
    args: QuantizationArgs,
    storable: Storable,
    multiples: tuple[float, ...],
    importance: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    import torch

    lowest, highest = groups.amin(dim=2).clamp(max=0), groups.amax(dim=2).clamp(min=0)
    grid = Integer(args.num_bits)
    best_scale, best_zero = torch.empty_like(lowest), torch.empty_like(lowest)
    best_error = torch.full_like(lowest, torch.inf)
    for multiple in multiples:
        scale = storable((highest - lowest) * multiple / (2 * grid.half_range))
        zero = grid.rounded(grid.lowest - lowest * multiple / scale)
        shift = (zero * scale).unsqueeze(2)
        rounded = grid.rounded((groups + shift) / scale.unsqueeze(2)) * scale.unsqueeze(2) - shift
        error = (rounded - groups).abs_().pow_(ERROR_EXPONENT)
        error = (error if importance is None else error.mul_(importance)).sum(dim=2)
        better = error < best_error
        best_error = torch.where(better, error, best_error)
        best_scale, best_zero = torch.where(better, scale, best_scale), torch.where(better, zero, best_zero)
    return best_scale, best_zero


def zero_shift(scale: torch.Tensor, zero: torch.Tensor, args: QuantizationArgs, rows: int, columns: int) -> torch.Tensor:
    """What to add to a weight [rows, columns] to make its asymmetric grid the symmetric one of the same scales, float32.

    Since it is the same for every code of a group, an algorithm that rounds to a symmetric grid and works with the error
    (GPTQ) needs no other change: shift, round, shift back.
    """
    shift = (scale * zero).unsqueeze(2)
    return from_groups(shift.expand(-1, -1, rows * columns // scale.numel()), args, rows, columns)
