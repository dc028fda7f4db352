from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
pytest.importorskip("compressed_tensors")

from whichbits.formats.catalogue import get  # noqa: E402
from whichbits.formats.checkpoint.compress import compress, decompress  # noqa: E402
from whichbits.formats.format import Format, fit  # noqa: E402
from whichbits.formats.grid.e8m0 import E8M0  # noqa: E402
from whichbits.formats.grid.grid import grid_of  # noqa: E402


def fitted(name: str, rows: int, columns: int) -> Format:
    return fit(get(name), [(rows, columns)])


def test_int4_words_by_hand() -> None:
    """Offset binary, eight codes a word, the first column in the lowest nibble."""
    codes = torch.tensor([-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7] * 2, dtype=torch.float32)
    weight, scale = (0.5 * codes).reshape(1, 32), torch.full((1, 1), 0.5)
    stored = compress(weight, scale, fitted("w4a16-int", 1, 32), dtype=torch.bfloat16)
    assert set(stored) == {"weight_packed", "weight_scale", "weight_shape"}
    words = [word & 0xFFFFFFFF for word in stored["weight_packed"][0].tolist()]
    assert [hex(word) for word in words] == ["0x76543210", "0xfedcba98"] * 2
    assert stored["weight_packed"].dtype == torch.int32
    assert stored["weight_scale"].dtype == torch.bfloat16 and stored["weight_scale"].tolist() == [[0.5]]
    assert stored["weight_shape"].tolist() == [1, 32]


def test_zero_points_by_hand() -> None:
    """Offset binary too, eight rows a word, the first row in the lowest nibble; q stands for (q - zero point) times scale."""
    zero = torch.tensor([-8.0, -7.0, 0.0, 1.0, 2.0, 3.0, 6.0, 7.0]).reshape(8, 1)
    codes = torch.arange(-8, 8, dtype=torch.float32).repeat(8, 2)
    format = fitted("w4a16-int-asym", 8, 32)
    stored = compress((codes - zero) * 0.5, torch.full((8, 1), 0.5), format, dtype=torch.bfloat16, zero_point=zero)
    assert [hex(word & 0xFFFFFFFF) for word in stored["weight_packed"][5].tolist()] == ["0x76543210", "0xfedcba98"] * 2
    assert stored["weight_zero_point"].shape == (1, 1)
    assert hex(stored["weight_zero_point"].item() & 0xFFFFFFFF) == "0xfeba9810"
    assert torch.equal(decompress(stored, format).to(torch.float32), (codes - zero) * 0.5)


@pytest.mark.parametrize("name", ["w4a8-fp", "w4a8-int-packed"])
def test_w4a8_is_packed_like_w4a16(name: str) -> None:
    codes = torch.arange(-8, 8, dtype=torch.float32).repeat(2).reshape(1, 32)
    stored = compress(codes, torch.ones(1, 1), fitted(name, 1, 32), dtype=torch.bfloat16)
    assert [hex(word & 0xFFFFFFFF) for word in stored["weight_packed"][0].tolist()] == ["0x76543210", "0xfedcba98"] * 2


def test_int8_codes_by_hand() -> None:
    weight = torch.tensor([[-32.0, -0.25, 0.0, 31.75], [-128.0, 1.0, 2.0, 127.0]])
    stored = compress(weight, torch.tensor([[0.25], [1.0]]), fitted("w8a8-int", 2, 4), dtype=torch.bfloat16)
    assert stored["weight"].dtype == torch.int8
    assert stored["weight"].tolist() == [[-128, -1, 0, 127], [-128, 1, 2, 127]]
    assert stored["weight_scale"].shape == (2, 1)
    assert set(stored) == {"weight", "weight_scale"}


def test_w4a8_int_has_one_code_a_byte() -> None:
    codes = torch.arange(-8, 8, dtype=torch.float32).repeat(2).reshape(1, 32)
    stored = compress(codes * 2, torch.full((1, 1), 2.0), fitted("w4a8-int", 1, 32), dtype=torch.float16)
    assert stored["weight"].tolist() == codes.to(torch.int8).tolist()
    assert stored["weight_scale"].dtype == torch.float16


def test_fp8_bytes_by_hand() -> None:
    """E4M3: 448 = 0 1111 110, 1 = 0 0111 000, -1.125 = 1 0111 001, smallest 2^-9 = 0 0000 001."""
    weight = torch.tensor([[448.0, 1.0, -1.125, 2.0**-9]]) * 2
    stored = compress(weight, torch.full((1, 1), 2.0), fitted("w8a8-fp", 1, 4), dtype=torch.bfloat16)
    assert stored["weight"].view(torch.uint8).tolist() == [[0x7E, 0x38, 0xB9, 0x01]]


def test_fp8_block_has_a_scale_for_each_block() -> None:
    scale = torch.tensor([[1.0, 2.0], [4.0, 8.0]])
    weight = scale.repeat_interleave(128, 0).repeat_interleave(128, 1)
    stored = compress(weight, scale, fitted("fp8-block", 256, 256), dtype=torch.bfloat16)
    assert torch.equal(stored["weight"].to(torch.float32), torch.ones(256, 256))
    assert stored["weight_scale"].tolist() == scale.tolist()


def test_fp4_bytes_by_hand() -> None:
    """0, .5, 1, 1.5, 2, 3, 4, 6 are 0 to 7, the sign is bit 3, the even column the low nibble; E8M0 scale 2^-2 is 125."""
    row = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -6.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0] * 2)
    stored = compress(row.reshape(1, 32) / 4, torch.full((1, 1), 0.25), fitted("mxfp4", 1, 32), dtype=torch.bfloat16)
    expected = [0x10, 0x32, 0x54, 0x76, 0x9F, 0xBA, 0xDC, 0xFE] * 2
    assert stored["weight_packed"].tolist() == [expected]
    assert stored["weight_scale"].dtype == torch.uint8 and stored["weight_scale"].tolist() == [[125]]


def test_fp4_is_packed_in_parts_as_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = torch.tensor([0.5, -3.0, 6.0, 1.0]).repeat(5, 8)
    scale = torch.tensor([[1.0], [2.0], [0.5], [4.0], [1.0]])
    whole = compress(weight * scale, scale, fitted("mxfp4", 5, 32), dtype=torch.bfloat16)
    monkeypatch.setattr("whichbits.formats.checkpoint.compress.FP4_AT_ONCE", 64)
    parts = compress(weight * scale, scale, fitted("mxfp4", 5, 32), dtype=torch.bfloat16)
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_nvfp4_scales_are_fp8_under_a_global_scale() -> None:
    row = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0] * 2).reshape(1, 16)
    stored = compress(
        row * 3 / 8, torch.full((1, 1), 3.0), fitted("nvfp4a16", 1, 16), dtype=torch.bfloat16, global_scale=torch.tensor([8.0])
    )
    assert stored["weight_packed"].tolist() == [[0x10, 0x32, 0x54, 0x76] * 2]
    assert stored["weight_scale"].dtype == torch.float8_e4m3fn and stored["weight_scale"].to(torch.float32).tolist() == [[3.0]]
    assert stored["weight_global_scale"].tolist() == [8.0]


def test_mxfp8_by_hand() -> None:
    weight = torch.cat([torch.full((1, 32), 448.0), torch.full((1, 32), 1.0)], dim=1) * torch.tensor([2.0] * 32 + [0.5] * 32)
    stored = compress(weight, torch.tensor([[2.0, 0.5]]), fitted("mxfp8", 1, 64), dtype=torch.bfloat16)
    assert stored["weight"].view(torch.uint8).unique().tolist() == [0x38, 0x7E]
    assert stored["weight_scale"].tolist() == [[128, 126]]


@pytest.mark.parametrize("name", ["w8a8-int", "w4a8-int", "w4a16-int", "w8a8-fp", "mxfp8", "mxfp4"])
def test_every_number_of_the_grid_is_stored_as_it_is(name: str) -> None:
    format = fitted(name, 2, 256)
    numbers = grid_of(format.weights).numbers()
    weight = torch.nn.functional.pad(numbers, (0, 256 - len(numbers))).repeat(2, 1)
    count = format.scales(2, 256) // 2
    scale = 2.0 ** torch.arange(2 * count).reshape(2, count)
    weight *= scale.repeat_interleave(256 // count, dim=1)
    stored = compress(weight, scale, format, dtype=torch.bfloat16)
    assert torch.equal(decompress(stored, format).float(), weight)
    if format.weights.scale_dtype:
        assert torch.equal(stored["weight_scale"], E8M0().encode(scale))


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(["w4a16-int", "w4a8-fp", "w4a8-int", "w8a8-int"]),
    rows=st.integers(1, 5),
    groups=st.integers(1, 4),
    seed=st.integers(0, 2**31),
)
def test_unpacking_is_the_inverse_of_packing(name: str, rows: int, groups: int, seed: int) -> None:
    """Codes times a power of two are exact in BF16, so the weight comes back to the bit."""
    generator = torch.Generator().manual_seed(seed)
    format = fitted(name, rows, 32 * groups)
    assert format.weights
    bound = 2 ** (format.weights.num_bits - 1)
    codes = torch.randint(-bound, bound, (rows, 32 * groups), generator=generator).to(torch.float32)
    scales = format.scales(rows, 32 * groups) // rows
    scale = 2.0 ** torch.randint(-12, 4, (rows, scales), generator=generator)
    weight = codes * scale.repeat_interleave(32 * groups // scales, dim=1)
    stored = compress(weight, scale, format, dtype=torch.bfloat16)
    assert torch.equal(decompress(stored, format).to(torch.float32), weight)
