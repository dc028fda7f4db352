"""The integer arithmetic of a quantized linear layer, written for exactness: the exact reference of emulation and kernels."""

from __future__ import annotations

import torch
from torch import Tensor


def unpack_int4(packed: Tensor, columns: int) -> Tensor:
    """Signed codes [rows, columns] (int8, -8..7) of words [rows, ceil(columns / 8)] (int32), lowest four bits first.

    compressed-tensors' `pack-quantized` layout: each code is stored plus 8.
    """
    shifts = torch.arange(0, 32, 4, dtype=torch.int64)
    nibbles = (packed.to(torch.int64)[..., None] >> shifts) & 0xF
    return (nibbles.flatten(-2)[:, :columns] - 8).to(torch.int8)


def quantize_tokens_exactly(x: Tensor, *, bits: int = 8) -> tuple[Tensor, Tensor]:
    """Codes (int64) and scale [..., 1] (float64) of each token of `x` [..., K]: scale = max|x| / (2^(bits-1) - 1)."""
    exact = x.to(torch.float64)
    scale = exact.abs().amax(-1, keepdim=True) / (2 ** (bits - 1) - 1)
    scale = torch.where(scale == 0, torch.ones_like(scale), scale)
    return (exact / scale).round().to(torch.int64), scale


def integer_linear(x: Tensor, weight_codes: Tensor, weight_scale: Tensor, *, activation_bits: int | None = 8) -> Tensor:
    """Output [..., N] (float64) of activations `x` [..., K] and an integer weight.

    weight_codes: [N, K]. weight_scale: [N, K / group size]; one column is a scale a channel. activation_bits: None leaves
    the activations as they are. Products are summed within a group in 64-bit integers, the group's sum is scaled, and the
    scaled sums are added in float64.
    """
    rows, columns = weight_codes.shape
    groups = weight_scale.shape[1]
    if columns % groups:
        raise ValueError(f"{groups} scales do not divide {columns} columns")
    codes, token_scale = x.to(torch.float64), torch.ones(1, dtype=torch.float64)
    if activation_bits is not None:
        codes, token_scale = quantize_tokens_exactly(x, bits=activation_bits)
    by_group = codes.view(*x.shape[:-1], groups, columns // groups)
    weight = weight_codes.to(codes.dtype).view(rows, groups, columns // groups)
    sums = torch.einsum("...gk,ngk->...ng", by_group, weight).to(torch.float64)
    return (sums * weight_scale.to(torch.float64)).sum(-1) * token_scale
