"""One decoder layer: from its weights to the tensors that a checkpoint stores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from whichbits.errors import UserError
from whichbits.formats.compress import compress
from whichbits.quantize.hessian import column_importance
from whichbits.quantize.rounding import Rounded, find_scale, relative_error, round_to_nearest, stored_scale
from whichbits.quantize.scales import nvfp4_global_scale

if TYPE_CHECKING:
    import torch

    from whichbits.formats.format import Format, QuantizationArgs
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
    if format.weights is None:
        raise ValueError(f"{format.name} is not quantized")
    global_scales = _global_scales(weights) if format.weights.strategy == "tensor_group" else {}
    for name, weight in weights.items():
        module = name.removesuffix(".weight")
        fed = statistics[name] if statistics is not None else None
        try:
            rounded = round_weight(weight, format.weights, recipe, fed, global_scales.get(name))
        except ArithmeticError as error:
            raise UserError(
                f"{module}: {error}",
                remedy="raise damping (0.1 is common for INT8), or calibrate on more or other text",
            ) from error
        stored = compress(rounded.weight, rounded.scale, format, dtype=weight.dtype, global_scale=rounded.global_scale)
        tensors = {f"{module}.{key}": tensor for key, tensor in stored.items()}
        yield QuantizedModule(module, tensors, relative_error(weight, rounded.weight))


def round_weight(
    weight: torch.Tensor,
    args: QuantizationArgs,
    recipe: Recipe,
    fed: InputStatistics | None,
    global_scale: torch.Tensor | None,
) -> Rounded:
    """One weight [rows, columns] on the grid of `args` as `recipe` has it; `fed` are the statistics of its inputs.

    Raises ArithmeticError where GPTQ's Hessian cannot be factorised.
    """
    importance = column_importance(fed.hessian) if fed is not None and recipe.scales == "activation" else None
    if recipe.rounding == "rtn":
        return round_to_nearest(
            weight, args, scales=recipe.scales, dtype=weight.dtype, global_scale=global_scale, importance=importance
        )
    if fed is None:
        raise ValueError("GPTQ needs the statistics of a layer's inputs")
    from whichbits.quantize.gptaq import corrected
    from whichbits.quantize.gptq import gptq

    factor = fed.factor(damping=recipe.damping, act_order=recipe.act_order)
    target = weight if fed.cross is None else corrected(weight, fed.cross, factor, recipe.asymmetric)
    scale = find_scale(target, args, scales=recipe.scales, dtype=weight.dtype, global_scale=global_scale, importance=importance)
    return Rounded(gptq(target, args, scale, factor), stored_scale(scale, global_scale), global_scale)


def _global_scales(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """NVFP4's scale of each tensor [1], the same for modules that one kernel may fuse: one parent, equal columns."""
    import torch

    largest: dict[tuple[str, int], torch.Tensor] = {}
    for name, weight in weights.items():
        magnitude = weight.abs().amax()
        largest[_fused(name, weight)] = torch.maximum(largest.get(_fused(name, weight), magnitude), magnitude)
    return {name: nvfp4_global_scale(largest[_fused(name, weight)]) for name, weight in weights.items()}


def _fused(name: str, weight: torch.Tensor) -> tuple[str, int]:
    return name.rsplit(".", 2)[0], weight.shape[1]
