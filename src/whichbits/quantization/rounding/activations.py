"""Scales of activations that are found beforehand on data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from whichbits.formats.grid.grid import grid_of
from whichbits.quantization.rounding.scales import nvfp4_global_scale, storable_in

if TYPE_CHECKING:
    import torch

    from whichbits.formats.format import QuantizationArgs


def activation_scales(largest: torch.Tensor, args: QuantizationArgs, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """What a checkpoint stores for a layer's inputs, by its name after the module's, each of shape [1].

    `largest` are the largest magnitudes seen, of whatever shape. One scale for all of a layer's inputs (in `dtype`) maps the
    largest to the end of the range; NVFP4's global scale (float32) puts the scale of the largest group at the top of FP8's.
    """
    if args.strategy == "tensor_group":
        return {"input_global_scale": nvfp4_global_scale(largest.amax())}
    scale = largest.amax().to(dtype).float().reshape(1) / grid_of(args).half_range
    return {"input_scale": storable_in(dtype)(scale).to(dtype)}
