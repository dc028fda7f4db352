"""One weight, rounded as the recipe has it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from whichbits.quantization.rounding.nearest import nearest
from whichbits.quantization.rounding.rounded import Rounded, stored_scale
from whichbits.quantization.rounding.rounder import Unrounded, rounder
from whichbits.quantization.rounding.scales import find_scale, nvfp4_global_scale
from whichbits.quantization.rounding.zero_points import find_range, zero_shift
from whichbits.quantization.statistics.hessian import column_importance, output_error, shrunk

if TYPE_CHECKING:
    import torch

    from whichbits.formats.format import QuantizationArgs
    from whichbits.quantization.recipe.recipe import Recipe
    from whichbits.quantization.statistics.forward import InputStatistics
    from whichbits.quantization.statistics.hessian import Factor


def round_weight(
    weight: torch.Tensor,
    args: QuantizationArgs,
    recipe: Recipe,
    fed: InputStatistics | None,
    global_scale: torch.Tensor | None,
    rows: Factor | None = None,
    target: torch.Tensor | None = None,
) -> Rounded:
    """One weight [rows, columns] on the grid of `args` as `recipe` has it; `fed` are the statistics of its inputs.

    `rows` is the factor of the curvature at its output, where GPTQ is to see it; `target` is what the weight is to come near,
    where that is another than itself.
    Raises ArithmeticError where the rounder cannot compute it.
    """
    scales, dtype, importance = recipe.scales, weight.dtype, _importance(recipe, fed)
    own = rounder(recipe.rounding)
    if own.calibrated and fed is None:
        raise ValueError(f"rounding {recipe.rounding} needs the statistics of a layer's inputs")
    target = weight if target is None else target
    if args.symmetric:
        scale = find_scale(target, args, scales=scales, dtype=dtype, global_scale=global_scale, importance=importance)
        zero_point, shift = None, None
    else:
        scale, zero_point = find_range(target, args, scales=scales, dtype=dtype, importance=importance)
        shift = zero_shift(scale, zero_point, args, *weight.shape)
    target = target.float() if shift is None else target.float() + shift
    rounded = own.round(Unrounded(target, args, scale, recipe, fed, rows))
    errors = None
    if own.calibrated and fed is not None:
        plain = nearest(target, scale, args)
        errors = output_error(rounded - target, fed.hessian), output_error(plain - target, fed.hessian)
    rounded = rounded if shift is None else rounded - shift
    return Rounded(rounded, stored_scale(scale, global_scale), global_scale, zero_point, errors)


def _importance(recipe: Recipe, fed: InputStatistics | None) -> torch.Tensor | None:
    """How much an error in each column counts in the search of scales, where that asks."""
    if fed is None or recipe.scales != "activation":
        return None
    importance = column_importance(shrunk(fed.hessian.diagonal(), recipe.shrinkage))
    # Where few tokens decide, their large inputs would take all, though columns behind make up for part of the error.
    return importance.sqrt() if recipe.fisher_samples else importance


def global_scales(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """NVFP4's scale of each tensor [1], the same for modules that one kernel may fuse: one parent, equal columns."""
    import torch

    largest: dict[tuple[str, int], torch.Tensor] = {}
    for name, weight in weights.items():
        magnitude = weight.abs().amax()
        largest[_fused(name, weight)] = torch.maximum(largest.get(_fused(name, weight), magnitude), magnitude)
    return {name: nvfp4_global_scale(largest[_fused(name, weight)]) for name, weight in weights.items()}


def _fused(name: str, weight: torch.Tensor) -> tuple[str, int]:
    return name.rsplit(".", 2)[0], weight.shape[1]
