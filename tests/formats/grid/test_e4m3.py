from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from whichbits.formats.grid.e4m3 import E4M3  # noqa: E402


def test_the_table_of_numbers_is_torchs_conversion() -> None:
    codes = torch.arange(256, dtype=torch.uint8)
    expected = codes.view(torch.float8_e4m3fn).to(torch.float32)
    assert torch.equal(E4M3().decode(codes).view(torch.int32), expected.view(torch.int32))


def test_shapes_and_parts_do_not_change_the_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(5, 7, generator=torch.Generator().manual_seed(0)).mul_(100).t()
    whole = E4M3().rounded(x)
    assert whole.shape == x.shape
    assert torch.equal(whole, x.clamp(-448, 448).to(torch.float8_e4m3fn).to(torch.float32))
    monkeypatch.setattr("whichbits.formats.grid.e4m3.AT_ONCE", 8)
    assert torch.equal(E4M3().rounded(x), whole)
    assert E4M3().rounded(x.bfloat16()).dtype == torch.bfloat16
    assert E4M3().rounded(torch.empty(0, 3)).shape == (0, 3)
