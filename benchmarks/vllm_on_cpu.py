"""What vLLM's own operations for CPUs compute: INT8 products, rotary embeddings and attention, beside the same in plain torch.

    python benchmarks/vllm_on_cpu.py

Needs vLLM's CPU build in the same environment. Prints which sums and which rounding give the bits of each on this processor.
"""

from __future__ import annotations

import argparse
from typing import Any

import torch
from torch import Tensor
from vllm import _custom_ops as ops

from whichbits.engines.emulation.linear import exact_integers, quantize_tokens
from whichbits.formats.grid.integer import Integer

HEADS, KEY_HEADS, SIZE, TOKENS, BLOCK, BASE = 9, 3, 64, 30, 128, 100_000.0


def kernel(x: Tensor, weight: Tensor, scale: Tensor, handlers: dict[int, Any]) -> Tensor:
    """Output, BF16 [tokens, N], of activations BF16 [tokens, K] and codes int8 [N, K] with scales [N, 1]."""
    key = weight.data_ptr()
    if key not in handlers:
        handlers[key] = ops.create_onednn_scaled_mm(weight.t(), scale, torch.bfloat16, True, False, 32)
    codes, scales, _ = ops.onednn_scaled_int8_quant(x)
    out = torch.empty(len(x), len(weight), dtype=torch.bfloat16)
    return ops.onednn_scaled_mm(handlers[key], codes, out, scales, None, None, None)


def saturated(codes: Tensor, weight: Tensor) -> Tensor:
    """The product as processors without VNNI sum it: unsigned codes (plus 128) times weights, two at a time, held in 16 bit."""
    pairs = ((codes.int() + 128)[:, None] * weight.int()[None]).unflatten(-1, (-1, 2)).sum(-1).clamp(-(2**15), 2**15 - 1)
    return pairs.sum(-1) - 128 * weight.int().sum(1)


def nearest(x: Tensor) -> Tensor:
    """Float32 to BF16, to the nearest."""
    return x.bfloat16()


def cut(x: Tensor) -> Tensor:
    """Float32 to BF16 by leaving off the last 16 bits, as vLLM does on processors without BF16 instructions."""
    return (x.contiguous().view(torch.int32) >> 16 << 16).view(torch.float32).bfloat16()


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Queries or keys [..., size] by their angles' BF16 cosine and sine [..., size], in float32."""
    first, second = x.float().chunk(2, -1)
    return x.float() * cos.float() + torch.cat((-second, first), -1) * sin.float()


def attention(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor, scale: float) -> Tensor:
    """Attention in float32 [..., heads, tokens, size]; fewer heads of keys and values are shared; mask: what is seen."""
    shared = queries.shape[-3] // keys.shape[-3]
    keys, values = (each.float().repeat_interleave(shared, -3) for each in (keys, values))
    scores = (queries.float() @ keys.transpose(-1, -2) * scale).masked_fill(~mask, torch.finfo(torch.float32).min)
    return scores.softmax(-1) @ values


def shares(exact: Tensor, found: Tensor) -> str:
    """In how many numbers `exact` (float32) has the bits of `found` (BF16) by either rounding."""
    return ", ".join(f"{way.__name__} {float((way(exact) == found).float().mean()):.2%}" for way in (nearest, cut))


def compare_products(name: str, x: Tensor, weight: Tensor) -> None:
    """Print one line of how the kernel's bits come about."""
    scale = torch.rand(len(weight), 1, generator=torch.Generator().manual_seed(1)) * 0.01 + 0.001
    found = kernel(x, weight, scale, {})
    ours = quantize_tokens(x, Integer(8), dtype=torch.int8)
    theirs, steps, _ = ops.onednn_scaled_int8_quant(x)
    exact, held = (total.float() * scale.t() * steps for total in (theirs.int() @ weight.int().t(), saturated(theirs, weight)))
    error = (found.double() - exact.double()).norm() / exact.double().norm()
    same = f"codes equal {torch.equal(theirs, ours.codes)}, scales {torch.equal(steps.view(-1), ours.scale.view(-1))}"
    print(f"{name:20} {same}  error {error:.4f}  bits: exact sums {shares(exact, found)}; saturated {shares(held, found)}")


def compare_attention(draw: torch.Generator) -> None:
    """Print one line for rotary embeddings and one for attention, of one prompt."""
    queries, keys, values = (
        torch.randn(TOKENS, heads, SIZE, generator=draw).bfloat16() * 3 for heads in (HEADS, KEY_HEADS, KEY_HEADS)
    )
    angles = torch.arange(TOKENS)[:, None] / BASE ** (torch.arange(0, SIZE, 2) / SIZE)
    cos, sin = angles.cos().bfloat16(), angles.sin().bfloat16()
    exact = rotated(queries, torch.cat((cos, cos), -1)[:, None], torch.cat((sin, sin), -1)[:, None])
    queries, keys = (each.flatten(1).clone() for each in (queries, keys))
    ops.rotary_embedding(torch.arange(TOKENS), queries, keys, SIZE, torch.cat((cos, sin), -1), True)
    queries, keys = queries.unflatten(1, (HEADS, SIZE)), keys.unflatten(1, (KEY_HEADS, SIZE))
    print(f"{'rotary embeddings':20} bits: {shares(exact, queries)}")

    cache = torch.zeros(1, KEY_HEADS, 2 * BLOCK, SIZE, dtype=torch.bfloat16).chunk(2, dim=2)
    ops.cpu_attn_reshape_and_cache(keys, values, *cache, torch.arange(TOKENS), "vec")
    bounds, length = torch.tensor([0, TOKENS], dtype=torch.int32), torch.tensor([TOKENS], dtype=torch.int32)
    plan = ops.cpu_attn_get_scheduler_metadata(
        1, HEADS, KEY_HEADS, SIZE, length, torch.bfloat16, bounds, True, -1, "vec", False
    )  # fmt: skip
    found, table = torch.empty_like(queries), torch.zeros(1, 1, dtype=torch.int32)
    ops.cpu_attention_with_kv_cache(
        queries, *cache, found, bounds, length, SIZE**-0.5, True, None, -1, table, 0.0, plan, None
    )  # fmt: skip
    by_head = (each.transpose(0, 1) for each in (queries, keys, values))
    exact = attention(*by_head, torch.ones(TOKENS, TOKENS, dtype=torch.bool).tril(), SIZE**-0.5)
    print(f"{'attention':20} bits: {shares(exact.transpose(0, 1), found)}")


def main() -> None:
    """Measure."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    print(f"VNNI: {exact_integers()}, BF16 instructions: {torch.cpu._is_avx512_bf16_supported()}")
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(64, 576, generator=draw).bfloat16()
    heavy = x.clone()
    heavy[:, 3] = 60
    gaussian = torch.randn(1536, 576, generator=draw)
    codes = (gaussian / gaussian.abs().amax(1, keepdim=True) * 127).round().to(torch.int8)
    compare_products("small weights", x, codes // 4)
    compare_products("Gaussian weights", x, codes)
    compare_products("one massive channel", heavy, codes)
    compare_attention(draw)


if __name__ == "__main__":
    main()
