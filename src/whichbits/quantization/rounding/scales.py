"""Search of the scale of each group of weights: min-max, or the smallest error."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from whichbits.formats.grid.e2m1 import E2M1
from whichbits.formats.grid.e4m3 import E4M3
from whichbits.formats.grid.e8m0 import E8M0
from whichbits.formats.grid.grid import grid_of
from whichbits.formats.grid.integer import Integer
from whichbits.quantization.rounding.groups import to_groups

if TYPE_CHECKING:
    import torch

    from whichbits.formats.format import QuantizationArgs
    from whichbits.quantization.recipe.recipe import ScaleSearch

Storable = Callable[["torch.Tensor"], "torch.Tensor"]
"""Rounds scales (float32) to what a checkpoint can store of them, never to zero."""

ERROR_EXPONENT = 2.4
"""Exponent of the error that the search minimises (GPTQ's reference implementation and llm-compressor use the same)."""

WEIGHTED_EXPONENT = 2.5
"""That of weighted errors: next to the other, and compiled to a square root, which is many times as fast as a power."""

SHRINK = tuple(1.06 - 0.02 * step for step in range(20))
"""Multiples of the min-max scale that are tried."""

CHUNK_WEIGHTS = 2**18
"""Weights searched at a time, so that a chunk stays in the processor's cache."""


def storable_in(dtype: torch.dtype) -> Storable:
    """Scales stored as numbers of `dtype`."""

    def store(scale: torch.Tensor) -> torch.Tensor:
        import torch

        rounded = scale.to(dtype).to(torch.float32)
        return rounded.masked_fill_(rounded == 0, torch.finfo(dtype).eps)

    return store


def storable_under(global_scale: torch.Tensor) -> Storable:
    """Scales stored as FP8 E4M3 under one `global_scale` [1] a tensor (NVFP4): a group's scale is stored / global scale."""

    def store(scale: torch.Tensor) -> torch.Tensor:
        import torch

        stored = E4M3().rounded(scale * global_scale)
        return stored.masked_fill_(stored == 0, torch.finfo(torch.float8_e4m3fn).eps) / global_scale

    return store


LARGEST_GLOBAL_SCALE = 2.0**100
"""Beyond it (weights below 1e-27) a group's scale would leave the range of float32."""


def nvfp4_global_scale(largest: torch.Tensor) -> torch.Tensor:
    """The global scale [1] that puts the scale of the largest magnitude `largest` at the top of FP8's range; 1 for zeros."""
    import torch

    exact = largest.to(torch.float32)
    scale = (E4M3().largest * E2M1().largest / exact).clamp(max=LARGEST_GLOBAL_SCALE)
    return torch.where(exact > 0, scale, 1.0).reshape(1)


def minmax_scales(groups: torch.Tensor, args: QuantizationArgs, storable: Storable) -> torch.Tensor:
    """Scale of each group (float32 [scale rows, scale columns]) that maps its largest magnitude to the end of the range.

    `groups` is float32 [scale rows, scale columns, weights]. For powers of two the range counts by its own power of two.
    """
    return storable(_unrounded(groups, args))


def mse_scales(
    groups: torch.Tensor, args: QuantizationArgs, storable: Storable, importance: torch.Tensor | None = None
) -> torch.Tensor:
    """Scale of each group that minimises the sum of |rounded - weight|^2.4 over a grid of multiples of the min-max scale.

    Shapes as `minmax_scales`. With `importance`, float32 [1, scale columns, weights], it is the sum of |rounded - weight|^2.5
    times these.
    Every candidate is rounded to what can be stored before it is judged; of equal ones the larger is kept.
    Source: the shrink search of GPTQ's reference implementation (Frantar et al., arXiv 2210.17323, code).
    """
    import torch

    multiples = _multiples(args)
    grid = grid_of(args)
    if importance is not None and isinstance(grid, Integer) and groups.device.type == "cpu":
        from whichbits.quantization.rounding.scales_numba import weighted_scales

        start = _unrounded(groups, args)
        candidates = torch.stack([storable(start * multiple) for multiple in multiples])
        return weighted_scales(groups, candidates, importance, grid)
    rows = max(1, CHUNK_WEIGHTS // (groups.shape[1] * groups.shape[2]))
    chunks = torch.split(groups, rows)
    return torch.cat([_search(chunk, args, storable, multiples, importance) for chunk in chunks])


def _multiples(args: QuantizationArgs) -> tuple[float, ...]:
    """Multiples of the min-max scale, largest first; every reachable neighbour where scales are powers of two."""
    if args.scale_dtype:
        return (2.0, 1.0, 0.5)
    grid = grid_of(args)
    if not isinstance(grid, Integer):
        return SHRINK
    # Those that put the largest magnitude on the last positive or negative code find the grid of a model trained on one.
    exact = {grid.half_range / grid.largest, grid.half_range / -grid.lowest}
    return tuple(sorted(exact | set(SHRINK), reverse=True))


def _unrounded(groups: torch.Tensor, args: QuantizationArgs) -> torch.Tensor:
    import torch

    largest = groups.abs().amax(dim=2)
    if args.scale_dtype:
        return largest * 2.0 ** -int(torch.tensor(grid_of(args).half_range).log2().floor())
    return largest / grid_of(args).half_range


def _search(
    groups: torch.Tensor,
    args: QuantizationArgs,
    storable: Storable,
    multiples: tuple[float, ...],
    importance: torch.Tensor | None,
) -> torch.Tensor:
    import torch

    grid = grid_of(args)
    start = _unrounded(groups, args)
    best_scale = storable(start)
    best_error = torch.full_like(start, torch.inf)
    for multiple in multiples:
        scale = storable(start * multiple)
        divisor = scale.unsqueeze(2)
        error = grid.rounded(groups / divisor).mul_(divisor).sub_(groups)
        error = (
            error.abs_().pow_(ERROR_EXPONENT) if importance is None else error.abs_().pow_(WEIGHTED_EXPONENT).mul_(importance)
        )
        error = error.sum(dim=2)
        better = error < best_error
        best_error = torch.where(better, error, best_error)
        best_scale = torch.where(better, scale, best_scale)
    return best_scale


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
