from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from whichbits.formats.grid.e8m0 import E8M0  # noqa: E402


def test_numbers_are_the_powers_of_two() -> None:
    numbers = E8M0().numbers()
    assert numbers.double().tolist() == [2.0**exponent for exponent in range(-127, 128)]
    assert torch.equal(E8M0().rounded(numbers), numbers)
    assert E8M0().encode(numbers).tolist() == list(range(255))
    assert float(numbers[-1]) == 2.0**127


def test_scales_round_up_from_one_and_three_quarters() -> None:
    scale = torch.tensor([1.0, 1.74, 1.75, 2.0, 0.375, 0.0])
    assert E8M0().rounded(scale).tolist() == [1.0, 1.0, 2.0, 2.0, 0.25, 1.0]
    assert E8M0().rounded(torch.tensor([3e38, 1e-45])).tolist() == [2.0**127, 2.0**-127]
