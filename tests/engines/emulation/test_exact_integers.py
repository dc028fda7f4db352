from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from whichbits.engines.emulation.exact_integers import integer_linear, quantize_tokens_exactly, unpack_int4


def test_hand_computed_w8a8() -> None:
    """x = [1, -2] has scale 2/127, codes [64, -127] (63.5 rounds to even); 64·3 + 127·5 = 827; · 0.5 · 2/127."""
    y = integer_linear(torch.tensor([[1.0, -2.0]]), torch.tensor([[3, -5]], dtype=torch.int8), torch.tensor([[0.5]]))
    assert y.item() == pytest.approx(827 * 0.5 * 2 / 127, rel=1e-15)


def test_hand_computed_groups() -> None:
    """Two groups of two: (1·1 + 2·2) · 0.5 + (3·3 + 4·-4) · 2 = 2.5 - 14."""
    x = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    codes = torch.tensor([[1, 2, 3, -4]], dtype=torch.int8)
    assert integer_linear(x, codes, torch.tensor([[0.5, 2.0]]), activation_bits=None).item() == -11.5


def test_groups_must_divide() -> None:
    with pytest.raises(ValueError, match="3 scales do not divide 4 columns"):
        integer_linear(torch.ones(1, 4), torch.ones(1, 4, dtype=torch.int8), torch.ones(1, 3))


def test_hand_packed_word() -> None:
    """Codes -8..-1 are stored 0..7, lowest first: 0x76543210; 0..7 as 0xFEDCBA98, negative as int32."""
    words = torch.tensor([[0x76543210, 0xFEDCBA98 - 2**32]], dtype=torch.int32)
    assert unpack_int4(words, 16).tolist() == [list(range(-8, 8))]
    assert unpack_int4(words, 11).tolist() == [list(range(-8, 3))]


@given(st.lists(st.floats(-1e3, 1e3, allow_nan=False), min_size=1, max_size=32))
def test_quantized_tokens_are_within_half_a_step(values: list[float]) -> None:
    x = torch.tensor([values], dtype=torch.float64)
    codes, scale = quantize_tokens_exactly(x)
    assert codes.abs().max() <= 127
    assert ((codes * scale - x).abs() <= scale / 2 * (1 + 1e-12)).all()
