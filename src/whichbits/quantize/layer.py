"""One decoder layer: from its weights to the tensors that a checkpoint stores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from whichbits.formats.compress import compress
from whichbits.quantize.rounding import relative_error, round_to_nearest
from whichbits.quantize.scales import nvfp4_global_scale

if TYPE_CHECKING:
    import torch

    from whichbits.formats.format import Format
    from whichbits.quantize.recipe import Recipe


@dataclass(frozen=True)
class QuantizedModule:
    """A linear layer as it is stored: `tensors` by full name, and the relative Frobenius error of its weight."""

    module: str
    tensors: Mapping[str, torch.Tensor]
    error: float


def quantize_layer(weights: Mapping[str, torch.Tensor], format: Format, recipe: Recipe) -> Iterator[QuantizedModule]:
    """Quantize the linear layers of one decoder layer.

    `weights` maps the name of a weight (`....q_proj.weight`) to its tensor [rows, columns] of 16 bit, in whose dtype scales are
    stored. `format` is fitted (its group size chosen).
    """
    if format.weights is None:
        raise ValueError(f"{format.name} is not quantized")
    global_scales = _global_scales(weights) if format.weights.strategy == "tensor_group" else {}
    for name, weight in weights.items():
        rounded = round_to_nearest(
            weight, format.weights, scales=recipe.scales, dtype=weight.dtype, global_scale=global_scales.get(name)
        )
        stored = compress(rounded.weight, rounded.scale, format, dtype=weight.dtype, global_scale=rounded.global_scale)
        module = name.removesuffix(".weight")
        tensors = {f"{module}.{key}": tensor for key, tensor in stored.items()}
        yield QuantizedModule(module, tensors, relative_error(weight, rounded.weight))


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
