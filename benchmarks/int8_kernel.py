"""What vLLM's INT8 kernel for CPUs computes, beside the emulation and the exact integers, and what that does to a score.

    python benchmarks/int8_kernel.py [CHECKPOINT --items 120]

Needs vLLM's CPU build in the same environment. Prints how the kernel's output differs from the exact product of the same codes,
and which arithmetic gives its bits; with a w8a8-int CHECKPOINT the score of `recall` in transformers, its linear layers once
emulated and once computed by the kernel, all else the same.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from vllm import _custom_ops as ops

from whichbits.accuracy.harness import evaluate
from whichbits.accuracy.registry import task
from whichbits.engines.emulation.linear import EmulatedLinear, exact_integers, quantize_tokens
from whichbits.engines.emulation.model import Emulated


def kernel(x: torch.Tensor, weight: torch.Tensor, scale: torch.Tensor, handlers: dict[int, Any]) -> torch.Tensor:
    """Output, BF16 [tokens, N], of activations BF16 [tokens, K] and codes int8 [N, K] with scales [N, 1]."""
    key = weight.data_ptr()
    if key not in handlers:
        handlers[key] = ops.create_onednn_scaled_mm(weight.t(), scale, torch.bfloat16, True, False, 32)
    codes, scales, _ = ops.onednn_scaled_int8_quant(x)
    out = torch.empty(len(x), len(weight), dtype=torch.bfloat16)
    return ops.onednn_scaled_mm(handlers[key], codes, out, scales, None, None, None)


def saturated(codes: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The product as processors without VNNI sum it: unsigned codes (plus 128) times weights, two at a time, held in 16 bit."""
    pairs = ((codes.int() + 128)[:, None] * weight.int()[None]).unflatten(-1, (-1, 2)).sum(-1).clamp(-(2**15), 2**15 - 1)
    return pairs.sum(-1) - 128 * weight.int().sum(1)


def cut(x: torch.Tensor) -> torch.Tensor:
    """Float32 to BF16 by leaving off the last 16 bits, as vLLM does on processors without BF16 instructions."""
    return (x.contiguous().view(torch.int32) >> 16 << 16).view(torch.float32).bfloat16()


def compare(name: str, x: torch.Tensor, weight: torch.Tensor) -> None:
    """Print one line of how the kernel's bits come about."""
    scale = torch.rand(len(weight), 1, generator=torch.Generator().manual_seed(1)) * 0.01 + 0.001
    found = kernel(x, weight, scale, {})
    ours = quantize_tokens(x, bits=8, floating=False, dtype=torch.int8)
    theirs, steps, _ = ops.onednn_scaled_int8_quant(x)
    exact, held = (total.float() * scale.t() * steps for total in (theirs.int() @ weight.int().t(), saturated(theirs, weight)))
    ways = {
        "exact": exact.bfloat16(), "exact, cut": cut(exact), "saturated": held.bfloat16(), "saturated, cut": cut(held),
    }  # fmt: skip
    error = (found.double() - exact.double()).norm() / exact.double().norm()
    shares = ", ".join(f"{way} {float((rounded == found).float().mean()):.1%}" for way, rounded in ways.items())
    print(f"{name:20} codes equal {torch.equal(theirs, ours.codes)}  error {error:.4f}  same bits: {shares}")


def score(checkpoint: Path, items: int, *, by_kernel: bool) -> float:
    """Score of `recall` in transformers."""
    model = Emulated(checkpoint, threads=torch.get_num_threads())
    handlers: dict[int, Any] = {}
    if by_kernel:
        for module in model._model.modules():
            if isinstance(module, EmulatedLinear) and module.weight_scale is not None:
                codes, scale = module.weight.to(torch.int8), module.weight_scale.view(-1, 1).contiguous()
                module.weight = codes
                module.forward = (
                    lambda x, codes=codes, scale=scale: kernel(  # type: ignore[method-assign]
                        x.flatten(0, -2), codes, scale, handlers
                    ).unflatten(0, x.shape[:-1])
                )
    result = evaluate(task("recall"), model, checkpoint, limit=items)
    return sum(item.score for item in result.items) / len(result.items)


def main() -> None:
    """Measure what the command line names."""
    parser = argparse.ArgumentParser()
    parser.add_argument("checkpoint", nargs="?", type=Path)
    parser.add_argument("--items", type=int, default=120)
    options = parser.parse_args()
    print(f"VNNI: {exact_integers()}, BF16 instructions: {torch.cpu._is_avx512_bf16_supported()}")
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(64, 576, generator=draw).bfloat16()
    heavy = x.clone()
    heavy[:, 3] = 60
    gaussian = torch.randn(1536, 576, generator=draw)
    codes = (gaussian / gaussian.abs().amax(1, keepdim=True) * 127).round().to(torch.int8)
    compare("small weights", x, codes // 4)
    compare("Gaussian weights", x, codes)
    compare("one massive channel", heavy, codes)
    if options.checkpoint:
        for by_kernel in (False, True):
            found = score(options.checkpoint, options.items, by_kernel=by_kernel)
            print(f"recall, linear layers {'by the kernel' if by_kernel else 'emulated':13}: {found:.3f}", flush=True)


if __name__ == "__main__":
    main()
