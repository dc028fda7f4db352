"""Causal attention in blocks of queries: on a CPU some two to three times as fast as torch's kernel, there and back.

It is also what caps scores (Gemma 2), which transformers' way to torch's kernel leaves out without a word.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

BLOCK = 128
"""Queries that are worked on at once: fewer leave smaller products, more compute scores of keys that lie behind."""

LONGEST = 2048
"""Tokens of a sample up to which it is used: on the way back the probabilities of a whole layer are in memory."""

NAME = "whichbits_causal_blocks"


def use_blocks(decoder: Any) -> None:
    """Have a decoder of transformers' that would use torch's kernel use `attention`; others (custom code) stay as they are."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    known = type(decoder).__module__.startswith("transformers.models.")
    if known and decoder.config._attn_implementation == "sdpa":
        AttentionInterface.register(NAME, attention)
        AttentionMaskInterface.register(NAME, sdpa_mask)
        decoder.config._attn_implementation = NAME


def attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """The attention that layers ask for: causal samples on a CPU, and capped scores, in blocks, all else by torch's kernel.

    `query` [samples, heads, tokens, width]; `key` and `value` may have fewer heads. Returns [samples, tokens, heads, width].
    """
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    tokens = query.shape[2]
    # Without a mask transformers means causal attention, where there is more than one query.
    causal = attention_mask is None and options.get("is_causal") is not False and tokens == key.shape[2]
    softcap = options.get("softcap")
    if softcap is not None and attention_mask is None and not causal:
        raise ValueError("scores that are capped are causal, or have a mask")
    if softcap is None and (not causal or query.device.type != "cpu" or tokens > LONGEST):
        result: tuple[torch.Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **options)
        return result
    scaling = options.get("scaling")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    return in_blocks(query * scale, key, value, softcap, attention_mask).transpose(1, 2).contiguous(), None


def in_blocks(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, softcap: float | None, mask: torch.Tensor | None = None
) -> torch.Tensor:
    """Causal attention of scaled queries [samples, heads, tokens, width], of that shape.

    Each block of queries meets the keys up to its last alone, those of all heads that share a key in one product. Scores are
    rounded to the queries' dtype, as transformers' plain attention does; with `softcap` they are held below it (Gemma 2).
    `mask` [samples or 1, 1, tokens, tokens] is within the causal one: what is added to scores, or whether keys are seen.
    """
    import torch

    samples, heads, tokens, width = query.shape
    query = query.reshape(samples, key.shape[1], -1, tokens, width)
    transposed = key.transpose(-1, -2)
    parts = []
    for begin in range(0, tokens, BLOCK):
        end = min(begin + BLOCK, tokens)
        block = query[:, :, :, begin:end].flatten(2, 3)
        scores = (block @ transposed[..., :end]).reshape(samples, key.shape[1], -1, end - begin, end)
        if softcap is not None:
            scores = softcap * torch.tanh(scores / softcap)
        behind = torch.full((end - begin, end), float("-inf"), dtype=scores.dtype, device=scores.device).triu(begin + 1)
        if mask is not None:
            part = mask[:, :, None, begin:end, :end]
            behind = torch.where(part, 0.0, float("-inf")).to(scores.dtype) if part.dtype == torch.bool else part
        share = torch.softmax(scores + behind, dim=-1).to(value.dtype)
        parts.append((share.flatten(2, 3) @ value[:, :, :end]).reshape(samples, heads, end - begin, -1))
    return torch.cat(parts, dim=2)
