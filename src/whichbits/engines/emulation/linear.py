"""A quantized linear layer's arithmetic on a device without its kernel.

Codes of activations and weights are multiplied as codes, which 8-bit integers and floats in BF16 are exactly, and scaled after
the sum, as the kernels do it; 8-bit integers are summed in 32-bit integers where the processor has the instructions for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from whichbits.formats.grid.grid import Grid, grid_of, is_outside
from whichbits.models.float32_products import has_bfloat16_products

if TYPE_CHECKING:
    from compressed_tensors.quantization import QuantizationArgs

_ROWS = 256  # tokens at a time, so that the float32 intermediates stay in the cache
_SMALLEST_SCALE = 1e-12


@dataclass(frozen=True)
class Codes:
    """Quantized activations: codes [..., K] (int8, or a float type that holds them exactly) and float32 scale [..., 1]."""

    codes: Tensor
    scale: Tensor


def quantize_tokens(x: Tensor, grid: Grid, *, dtype: torch.dtype) -> Codes:
    """Quantize each token (last dimension of `x`) symmetrically: scale = max|x| / largest code, codes = round(x / scale).

    This is what vLLM's kernels do at run time (`dynamic_scaled_int8_quant`, `dynamic_per_token_scaled_fp8_quant`);
    compressed-tensors' own fake quantization divides by 127.5 instead and clips. The largest code
    is the grid's. `dtype` is that of the codes.
    """
    rows = x.reshape(-1, x.shape[-1])
    codes = torch.empty(rows.shape, dtype=dtype)
    scale = torch.empty(len(rows), 1)
    for start in range(0, len(rows), _ROWS):
        part = rows[start : start + _ROWS].to(torch.float32, copy=True)
        step = (part.abs().amax(-1, keepdim=True) / grid.largest).clamp_(min=_SMALLEST_SCALE)
        part *= 1.0 / step
        codes[start : start + _ROWS] = grid.rounded(part)
        scale[start : start + _ROWS] = step
    return Codes(codes.view(x.shape), scale.view(*x.shape[:-1], 1))


class ActivationQuantizer:
    """Quantizes activations, once for layers that read the same tensor one after the other (queries, keys and values)."""

    def __init__(self, quantize: Callable[[Tensor], Codes]) -> None:
        self._quantize = quantize
        self._last: tuple[Tensor, Codes] | None = None

    def __call__(self, x: Tensor) -> Codes:
        """Codes of `x` [..., K]."""
        if self._last is None or self._last[0] is not x:
            self._last = (x, self._quantize(x))
        return self._last[1]


class EmulatedLinear(nn.Module):
    """y = (codes(x) · weightᵀ) · activation scale · weight scale + bias, in the dtype of x.

    weight: codes [N, K], or the dequantized weights, for which there is no `weight_scale` [N] (float32). quantizer: gives
    the codes of x. fallback: quantizes and dequantizes x where its scheme has no codes with one scale a token; at most one
    of both.
    """

    weight: Tensor
    weight_scale: Tensor | None
    bias: Tensor | None

    def __init__(
        self,
        weight: Tensor,
        weight_scale: Tensor | None,
        bias: Tensor | None,
        quantizer: ActivationQuantizer | None,
        fallback: Callable[[Tensor], Tensor] | None,
    ) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("weight_scale", weight_scale)
        self.register_buffer("bias", bias)
        self._quantizer = quantizer
        self._fallback = fallback

    def forward(self, x: Tensor) -> Tensor:
        """Output [..., N] of activations [..., K]."""
        scale = None
        codes = x if self._fallback is None else self._fallback(x)
        if self._quantizer is not None:
            quantized = self._quantizer(x)
            codes, scale = quantized.codes, quantized.scale
        if scale is None and self.weight_scale is None:
            return functional.linear(codes, self.weight, self.bias)
        return self._scaled(codes, scale, x.dtype)

    def _scaled(self, codes: Tensor, scale: Tensor | None, dtype: torch.dtype) -> Tensor:
        """The product with scales and bias in float32, some rows at a time."""
        columns = len(self.weight)
        rows = codes.reshape(-1, codes.shape[-1])
        scales = torch.ones(len(rows), 1) if scale is None else scale.view(-1, 1)
        out = torch.empty(len(rows), columns, dtype=dtype)
        for start in range(0, len(rows), _ROWS):
            part = slice(start, start + _ROWS)
            # What is quantized and dequantized again has the model's type, which is not always that of the weight's codes.
            total = torch.mul(multiply(rows[part].to(self.weight.dtype), self.weight), scales[part])
            if self.weight_scale is not None:
                total *= self.weight_scale
            if self.bias is not None:
                total += self.bias
            out[part] = total
        return out.view(*codes.shape[:-1], columns)


def multiply(x: Tensor, weight: Tensor) -> Tensor:
    """x [M, K] · weightᵀ, weight [N, K]: int32 [M, N] of int8 operands, exact; of floats in their own type."""
    return torch._int_mm(x, weight.t()) if x.dtype is torch.int8 else functional.linear(x, weight)


def exact_integers() -> bool:
    """Whether this processor sums products of 8-bit integers exactly; older ones saturate at 16 bit on the way."""
    return bool(torch.cpu._is_vnni_supported())


def emulated(module: nn.Linear, compute: torch.dtype, quantizers: dict[str, ActivationQuantizer]) -> EmulatedLinear:
    """The emulation of a linear layer that transformers has loaded compressed.

    compute: type of the model's activations. quantizers: those of the model made so far, by scheme; added to.
    """
    from compressed_tensors.compressors.base import decompress_module

    scheme: Any = module.quantization_scheme
    bias = None if module.bias is None else module.bias.data
    args = scheme.input_activations
    # FP16 cannot hold the sum of unscaled codes; a product in BF16 rounds it, and is slower where there are no instructions.
    codes_dtype = torch.bfloat16 if compute is torch.bfloat16 and has_bfloat16_products() else torch.float32
    quantizer = fallback = None
    if args is not None and _by_token(args):
        integers = exact_integers() and _is_integer8(args) and _by_channel(scheme.weights) and _is_integer8(scheme.weights)
        codes_dtype = torch.int8 if integers else codes_dtype
        quantizer = _shared_quantizer(args, codes_dtype, quantizers)
    elif args is not None:
        fallback = _fake_quantization(module, args)
    stored: Any = getattr(module, "weight", None)  # packed formats have none yet
    if _by_channel(scheme.weights) and stored is not None and stored.dtype in (torch.int8, torch.float8_e4m3fn):
        weight_scale = module.get_parameter("weight_scale").data.float().view(-1).expand(len(module.weight))
        return EmulatedLinear(module.weight.data.to(codes_dtype), weight_scale, bias, quantizer, fallback)
    decompress_module(module)
    weight = module.weight.data.to(codes_dtype if quantizer else compute)
    return EmulatedLinear(weight, None, bias, quantizer, fallback)


def _shared_quantizer(
    args: QuantizationArgs, dtype: torch.dtype, quantizers: dict[str, ActivationQuantizer]
) -> ActivationQuantizer:
    grid = grid_of(args)
    return quantizers.setdefault(
        f"{args.type}{args.num_bits} as {dtype}",
        ActivationQuantizer(lambda x: quantize_tokens(x, grid, dtype=dtype)),
    )


def _by_token(args: QuantizationArgs) -> bool:
    codes = (args.num_bits <= 8 if args.type == "int" else args.num_bits == 8) or is_outside(args)
    return bool(args.strategy == "token" and args.symmetric and args.dynamic is True and codes)


def _by_channel(args: QuantizationArgs | None) -> bool:
    return args is not None and args.strategy in ("channel", "tensor") and bool(args.symmetric)


def _is_integer8(args: QuantizationArgs | None) -> bool:
    return args is not None and args.type == "int" and args.num_bits == 8


def _fake_quantization(module: nn.Linear, args: QuantizationArgs) -> Callable[[Tensor], Tensor]:
    """compressed-tensors' own quantize-and-dequantize, for schemes other than one scale a token."""
    from compressed_tensors.quantization.lifecycle.forward import forward_quantize

    def quantized(x: Tensor) -> Tensor:
        found: Tensor = forward_quantize(module, x, "input", args)
        return found

    return quantized
