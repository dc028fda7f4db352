from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from whichbits.quantization.model.attention import BLOCK, LONGEST, attention, in_blocks  # noqa: E402


def by_definition(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, softcap: float | None) -> torch.Tensor:
    """Softmax of all scores that are not behind, head by head."""
    together = query.shape[1] // key.shape[1]
    scores = query @ key.repeat_interleave(together, dim=1).transpose(2, 3)
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    behind = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
    return scores.masked_fill(behind, float("-inf")).softmax(dim=-1) @ value.repeat_interleave(together, dim=1)


def three(tokens: int, *, key_heads: int = 2) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(tokens)
    shapes = ((2, 6, tokens, 16), (2, key_heads, tokens, 16), (2, key_heads, tokens, 8))
    query, key, value = (torch.randn(shape, generator=generator, requires_grad=True) for shape in shapes)
    return query, key, value


@pytest.mark.parametrize("tokens", [1, 5, BLOCK, BLOCK + 1, 2 * BLOCK + 44])
@pytest.mark.parametrize("key_heads", [1, 2, 6])
@pytest.mark.parametrize("softcap", [None, 2.0])
def test_blocks_are_attention_by_its_definition_there_and_back(tokens: int, key_heads: int, softcap: float | None) -> None:
    inputs = three(tokens, key_heads=key_heads)
    ours, expected = in_blocks(*inputs, softcap), by_definition(*inputs, softcap)
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)
    slope = torch.randn(ours.shape, generator=torch.Generator().manual_seed(1))
    for own, other in zip(torch.autograd.grad(ours, inputs, slope), torch.autograd.grad(expected, inputs, slope), strict=True):
        torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("what", ["mask", "not causal", "cached", "long"])
def test_all_else_goes_to_torchs_kernel(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*args: object) -> torch.Tensor:
        raise AssertionError("computed in blocks")

    monkeypatch.setattr("whichbits.quantization.model.attention.in_blocks", never)
    query, key, value = three(LONGEST + 1 if what == "long" else 12, key_heads=6)
    value = torch.cat([value, value], dim=-1)
    mask = torch.ones(1, 1, 12, 12, dtype=torch.bool) if what == "mask" else None
    query = query[:, :, -1:] if what == "cached" else query
    causal = None if what in ("mask", "long", "cached") else False
    found, _ = attention(torch.nn.Module(), query, key, value, mask, is_causal=causal)
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value, is_causal=what == "long")
    torch.testing.assert_close(found, expected.transpose(1, 2))
