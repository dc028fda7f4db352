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
from whichbits.quantization.rounding.rounded import Rounded, relative_error
from whichbits.quantization.rounding.weight import global_scales, round_weight
from whichbits.quantization.statistics.hessian import NotFinite
from whichbits.quantization.transforms.error_correction import bounded, corrected

if TYPE_CHECKING:
    import torch

    from whichbits.formats.format import Format
    from whichbits.quantization.recipe.recipe import Recipe
    from whichbits.quantization.statistics.forward import InputStatistics


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
            rtn_output_error=nearest_,
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
    part = None if residual is None else recipe.residual_error_correction * residual
    return bounded(weight, corrected(weight, fed.cross, factor, recipe.input_error_correction, part))


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
