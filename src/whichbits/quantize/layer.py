"""One decoder layer: from its weights to the tensors that a checkpoint stores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from whichbits.errors import UserError
from whichbits.formats.compress import compress
from whichbits.quantize.activations import activation_scales
from whichbits.quantize.asymmetric import find_range, zero_shift
from whichbits.quantize.hessian import column_importance, shrunk
from whichbits.quantize.rounding import Rounded, find_scale, nearest, relative_error, round_to_nearest, stored_scale
from whichbits.quantize.scales import nvfp4_global_scale

if TYPE_CHECKING:
    import torch

    from whichbits.formats.format import Format, QuantizationArgs
    from whichbits.quantize.hessian import Factor
    from whichbits.quantize.observe import InputStatistics
    from whichbits.quantize.recipe import Recipe


@dataclass(frozen=True)
class QuantizedModule:
    """A linear layer as it is stored: `tensors` by full name, and the relative Frobenius error of its weight."""

    module: str
    tensors: Mapping[str, torch.Tensor]
    error: float


def quantize_layer(
    weights: Mapping[str, torch.Tensor],
    format: Format,
    recipe: Recipe,
    statistics: Mapping[str, InputStatistics] | None = None,
) -> Iterator[QuantizedModule]:
    """Quantize the linear layers of one decoder layer.

    `weights` maps the name of a weight (`....q_proj.weight`) to its tensor [rows, columns] of 16 bit, in whose dtype scales are
    stored. `format` is fitted (its group size chosen). A calibrated recipe needs the `statistics` of each weight's inputs, by
    the same names. Raises UserError where a Hessian cannot be factorised.
    """
    formats = {name: format.of(name.removesuffix(".weight")) for name in weights}
    tensor_groups = (name for name, own in formats.items() if own.weights and own.weights.strategy == "tensor_group")
    shared = global_scales({name: weights[name] for name in tensor_groups})
    for name, weight in weights.items():
        module, format = name.removesuffix(".weight"), formats[name]
        if format.weights is None:
            raise ValueError(f"{format.name} is not quantized")
        fed = statistics[name] if statistics is not None else None
        try:
            rows = fed.row_factor(module) if fed is not None else None
            rounded = round_weight(weight, format.weights, recipe, fed, shared.get(name), rows)
        except ArithmeticError as error:
            raise UserError(
                f"{module}: {error}",
                remedy="raise damping (0.1 is common for INT8), or calibrate on more or other text",
            ) from error
        stored = compress(
            rounded.weight,
            rounded.scale,
            format,
            dtype=weight.dtype,
            global_scale=rounded.global_scale,
            zero_point=rounded.zero_point,
        )
        if format.activations and format.activations.dynamic is not True:
            if fed is None:
                raise ValueError(f"{format.name} needs the statistics of a layer's inputs")
            stored |= activation_scales(fed.largest, format.activations, weight.dtype)
        tensors = {f"{module}.{key}": tensor for key, tensor in stored.items()}
        yield QuantizedModule(module, tensors, relative_error(weight, rounded.weight))


def round_weight(
    weight: torch.Tensor,
    args: QuantizationArgs,
    recipe: Recipe,
    fed: InputStatistics | None,
    global_scale: torch.Tensor | None,
    rows: Factor | None = None,
) -> Rounded:
    """One weight [rows, columns] on the grid of `args` as `recipe` has it; `fed` are the statistics of its inputs.

    `rows` is the factor of the curvature at its output, where GPTQ is to see it.
    Raises ArithmeticError where GPTQ's Hessian cannot be factorised.
    """
    importance = None
    if fed is not None and recipe.scales == "activation":
        importance = column_importance(shrunk(fed.hessian, recipe.shrinkage))
        # Where few tokens decide, their large inputs would take all, though columns behind make up for part of the error.
        importance = importance.sqrt() if recipe.sensitivity else importance
    if not args.symmetric:
        return _round_asymmetric(weight, args, recipe, fed, importance, rows)
    if recipe.rounding == "rtn":
        return round_to_nearest(
            weight, args, scales=recipe.scales, dtype=weight.dtype, global_scale=global_scale, importance=importance
        )
    if fed is None:
        raise ValueError("GPTQ needs the statistics of a layer's inputs")
    from whichbits.quantize.gptaq import corrected
    from whichbits.quantize.gptq import gptq

    factor = fed.factor(damping=recipe.damping, shrinkage=recipe.shrinkage, act_order=recipe.act_order)
    target = weight if fed.cross is None else corrected(weight, fed.cross, factor, recipe.asymmetric)
    scale = find_scale(target, args, scales=recipe.scales, dtype=weight.dtype, global_scale=global_scale, importance=importance)
    return Rounded(gptq(target, args, scale, factor, rows), stored_scale(scale, global_scale), global_scale)


def _round_asymmetric(
    weight: torch.Tensor,
    args: QuantizationArgs,
    recipe: Recipe,
    fed: InputStatistics | None,
    importance: torch.Tensor | None,
    rows: Factor | None,
) -> Rounded:
    """As `round_weight`, on a grid with zero points: the shifted weight on the symmetric grid of the same scales."""
    from whichbits.quantize.gptaq import corrected
    from whichbits.quantize.gptq import gptq

    factor = None
    if fed is not None and recipe.rounding == "gptq":
        factor = fed.factor(damping=recipe.damping, shrinkage=recipe.shrinkage, act_order=recipe.act_order)
    target = weight.float()
    if fed is not None and factor is not None and fed.cross is not None:
        target = corrected(weight, fed.cross, factor, recipe.asymmetric)
    scale, zero = find_range(target, args, scales=recipe.scales, dtype=weight.dtype, importance=importance)
    shift = zero_shift(scale, zero, args, *weight.shape)
    if factor is not None:
        rounded = gptq(target + shift, args, scale, factor, rows) - shift
    else:
        rounded = nearest(target + shift, scale, args) - shift
    return Rounded(rounded, scale, zero_point=zero)


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
