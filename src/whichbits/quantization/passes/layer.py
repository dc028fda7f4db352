"""One decoder layer: from its weights to the tensors that a checkpoint stores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from whichbits.core.errors import UserError
from whichbits.formats.checkpoint.compress import compress
from whichbits.quantization.model.finite import IN_BFLOAT16, STORED, check_tensors
from whichbits.quantization.output.manifest import ModuleError
from whichbits.quantization.rounding.activations import activation_scales
from whichbits.quantization.rounding.rounders import (
    Rounded,
    find_scale,
    nearest,
    relative_error,
    round_to_nearest,
    stored_scale,
)
from whichbits.quantization.rounding.scales import nvfp4_global_scale
from whichbits.quantization.rounding.zero_points import find_range, zero_shift
from whichbits.quantization.statistics.hessian import NotFinite, column_importance, output_error, shrunk
from whichbits.quantization.transforms.error_correction import bounded, corrected

if TYPE_CHECKING:
    import torch

    from whichbits.formats.format import Format, QuantizationArgs
    from whichbits.quantization.recipe.recipe import Recipe
    from whichbits.quantization.statistics.forward import InputStatistics
    from whichbits.quantization.statistics.hessian import Factor


@dataclass(frozen=True)
class QuantizedModule:
    """A linear layer as it is stored: `tensors` by full name, and the errors that it was stored with."""

    tensors: Mapping[str, torch.Tensor]
    errors: ModuleError


def quantize_layer(
    weights: Mapping[str, torch.Tensor],
    format: Format,
    recipe: Recipe,
    statistics: Mapping[str, InputStatistics] | None = None,
) -> Iterator[QuantizedModule]:
    """Quantize the linear layers of one decoder layer.

    `weights` maps the name of a weight (`....q_proj.weight`) to its tensor [rows, columns] of 16 bit, in whose dtype scales are
    stored. `format` is fitted (its group size chosen). A calibrated recipe needs the `statistics` of each weight's inputs, by
    the same names. Raises UserError where a Hessian cannot be factorised, or a number is not finite.
    """
    check_tensors(weights, STORED)
    formats = {name: format.of(name.removesuffix(".weight")) for name in weights}
    targets = {name: _target(name, weight, recipe, statistics) for name, weight in weights.items()}
    tensor_groups = (name for name, own in formats.items() if own.weights and own.weights.strategy == "tensor_group")
    shared = global_scales({name: targets[name] for name in tensor_groups})
    for name, weight in weights.items():
        module, format = name.removesuffix(".weight"), formats[name]
        if format.weights is None:
            raise ValueError(f"{format.name} is not quantized")
        fed = statistics[name] if statistics is not None else None
        with _factorised(module, weight.dtype):
            rows = fed.row_factor(module) if fed is not None else None
            rounded = round_weight(weight, format.weights, recipe, fed, shared.get(name), rows, targets.pop(name))
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
        ours, nearest_ = rounded.errors or (None, None)
        errors = ModuleError(
            module=module,
            error=_error(module, weight, rounded),
            output_error=ours,
            nearest_output_error=nearest_,
        )
        yield QuantizedModule(tensors, errors)


def _error(module: str, weight: torch.Tensor, rounded: Rounded) -> float:
    """The relative error of a rounded weight. Raises UserError where it is not finite."""
    try:
        return relative_error(weight, rounded.weight)
    except ArithmeticError as error:
        raise UserError(
            f"{module}: {error} (its largest number is {float(weight.abs().max()):.1e}, scales are {weight.dtype})",
            remedy="save the model in another dtype, or leave the module in 16 bit by the recipe's layers (format: bf16)",
        ) from error


def _target(name: str, weight: torch.Tensor, recipe: Recipe, statistics: Mapping[str, InputStatistics] | None) -> torch.Tensor:
    """What the weight is to come near: itself, or, where the recipe corrects, what makes up for the error of earlier layers."""
    fed = statistics[name] if statistics is not None else None
    if fed is None or fed.cross is None or not recipe.corrects:
        return weight
    module = name.removesuffix(".weight")
    with _factorised(module, weight.dtype):
        factor = fed.factor(damping=recipe.damping, shrinkage=recipe.shrinkage, act_order=recipe.act_order)
    residual = fed.residual_of(module)
    part = None if residual is None else recipe.residual * residual
    return bounded(weight, corrected(weight, fed.cross, factor, recipe.asymmetric, part))


@contextmanager
def _factorised(module: str, dtype: torch.dtype) -> Iterator[None]:
    """Raises UserError where the Hessian of a module with weights of `dtype` cannot be factorised."""
    import torch

    try:
        yield
    except NotFinite as error:
        remedy = (
            IN_BFLOAT16
            if dtype == torch.float16
            else "look at what the model makes of the calibration text, or give other text"
        )
        raise UserError(f"{module}: {error}", remedy=remedy) from error
    except ArithmeticError as error:
        raise UserError(
            f"{module}: {error}", remedy="round to nearest (rounding: rtn), or calibrate on more or other text"
        ) from error


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
    Raises ArithmeticError where GPTQ's Hessian cannot be factorised.
    """
    scales, dtype, importance = recipe.scales, weight.dtype, _importance(recipe, fed)
    if recipe.rounding == "rtn" and args.symmetric:
        return round_to_nearest(weight, args, scales=scales, dtype=dtype, global_scale=global_scale, importance=importance)
    factor, target = None, weight if target is None else target
    if recipe.rounding == "gptq":
        if fed is None:
            raise ValueError("GPTQ needs the statistics of a layer's inputs")
        factor = fed.factor(damping=recipe.damping, shrinkage=recipe.shrinkage, act_order=recipe.act_order)
    if args.symmetric:
        scale = find_scale(target, args, scales=scales, dtype=dtype, global_scale=global_scale, importance=importance)
        zero_point, shift = None, None
    else:
        scale, zero_point = find_range(target, args, scales=scales, dtype=dtype, importance=importance)
        shift = zero_shift(scale, zero_point, args, *weight.shape)
    target = target.float() if shift is None else target.float() + shift
    if fed is None or factor is None:
        rounded, errors = nearest(target, scale, args), None
    else:
        from whichbits.quantization.rounding.gptq import gptq

        rounded = gptq(target, args, scale, factor, rows)
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
    return importance.sqrt() if recipe.sensitivity else importance


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
