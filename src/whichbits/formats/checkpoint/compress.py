"""A rounded weight as the tensors that a checkpoint stores, packed by the compressed-tensors library."""

from __future__ import annotations

from typing import TYPE_CHECKING

from whichbits.formats.format import Format, scheme
from whichbits.formats.grid.e2m1 import E2M1
from whichbits.formats.grid.grid import grid_of

if TYPE_CHECKING:
    import torch

FP4_AT_ONCE = 2**17
"""Weights that are packed to FP4 at once, by rows: the library holds 64 bytes for each meanwhile."""


def compress(
    weight: torch.Tensor,
    scale: torch.Tensor,
    format: Format,
    *,
    dtype: torch.dtype,
    global_scale: torch.Tensor | None = None,
    zero_point: torch.Tensor | None = None,
) -> dict[str, torch.Tensor]:
    """Tensors that store one linear layer's weight, by their name after the module's (`weight_packed`, `weight_scale`, ...).

    `weight` is [rows, columns] in float32, already on the format's grid; `scale` in float32 has the shape of the format's
    scales; `global_scale` [1] in float32 is for NVFP4 alone, `zero_point`, of the shape of `scale`, for asymmetric formats.
    Scales that the format does not encode are stored in `dtype`.
    """
    import torch
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationScheme

    args = QuantizationScheme.model_validate(scheme(format))
    module = {}
    if global_scale is not None:
        module["weight_global_scale"] = global_scale
    if zero_point is not None:
        module["weight_zero_point"] = zero_point.to(torch.int8)
    compressor = BaseCompressor.get_value_from_registry(format.storage)
    parts = [(weight, scale)]
    if format.weights and isinstance(grid_of(format.weights), E2M1):
        rows = max(1, FP4_AT_ONCE // weight.shape[1])
        parts = list(zip(torch.split(weight, rows), torch.split(scale, rows), strict=True))
    # The library compiles its rounding to FP4 at the first call, which costs more than it saves here.
    with torch.compiler.set_stance("force_eager"):
        packed = [compressor.compress({**module, "weight": part, "weight_scale": own}, args) for part, own in parts]
    tensors: dict[str, torch.Tensor] = packed[0]
    if len(packed) > 1:
        tensors |= {name: torch.cat([part[name] for part in packed]) for name in ("weight_packed", "weight_scale")}
    if tensors["weight_scale"].dtype == torch.float32:
        tensors["weight_scale"] = tensors["weight_scale"].to(dtype)
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


def decompress(tensors: dict[str, torch.Tensor], format: Format) -> torch.Tensor:
    """The weight [rows, columns] that stored tensors stand for, in the dtype of their scales; the inverse of `compress`."""
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationScheme

    args = QuantizationScheme.model_validate(scheme(format))
    weight: torch.Tensor = BaseCompressor.get_value_from_registry(format.storage).decompress(tensors, args)["weight"]
    return weight
