"""What holds of every grid, and each by hand."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from whichbits.engines.emulation.linear import quantize_tokens  # noqa: E402
from whichbits.formats.format import QuantizationArgs  # noqa: E402
from whichbits.formats.grid.e2m1 import E2M1  # noqa: E402
from whichbits.formats.grid.e4m3 import E4M3  # noqa: E402
from whichbits.formats.grid.grid import GRIDS, grid_of  # noqa: E402
from whichbits.formats.grid.integer import Integer  # noqa: E402
from whichbits.quantization.rounding.gptq import round_block  # noqa: E402
from whichbits.quantization.rounding.groups import to_groups  # noqa: E402
from whichbits.quantization.rounding.nearest import nearest  # noqa: E402
from whichbits.quantization.rounding.scales import minmax_scales, storable_in  # noqa: E402

INT4, INT8 = Integer(4), Integer(8)


def number_type(kind: str, bits: int) -> QuantizationArgs:
    values = {"num_bits": bits, "type": kind, "symmetric": True, "strategy": "channel", "dynamic": False}
    return QuantizationArgs.model_validate(values)


def test_ranges_and_half_ranges() -> None:
    assert [(grid.largest, grid.half_range) for grid in (INT4, INT8, E4M3(), E2M1())] == [
        (7, 7.5), (127, 127.5), (448, 448), (6, 6),
    ]  # fmt: skip


def test_numbers_by_hand() -> None:
    assert Integer(3).numbers().tolist() == [-4, -3, -2, -1, 0, 1, 2, 3]
    assert E2M1().numbers().tolist() == [-6, -4, -3, -2, -1.5, -1, -0.5, 0, 0.5, 1, 1.5, 2, 3, 4, 6]
    floats = E4M3().numbers()
    assert len(floats) == 2 * 126 + 1
    assert floats[-3:].tolist() == [384, 416, 448]
    assert floats[127:136].tolist() == [2.0**-9 * step for step in range(1, 10)]


@pytest.mark.parametrize(
    ("grid", "x", "expected"),
    [
        (INT4, [-9.0, -8.4, -0.5, 0.5, 1.5, 6.6, 7.4, 9.0], [-8, -8, 0, 0, 2, 7, 7, 7]),
        (INT8, [-200.0, 126.5, 127.5], [-128, 126, 127]),
        (E4M3(), [500.0, 1.0625, 1.1875, 2.0**-10, 0.75 * 2.0**-9], [448, 1.0, 1.25, 0, 2.0**-9]),
        (E2M1(), [0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0, 9.0, -5.1], [0, 1, 1, 2, 2, 4, 4, 6, -6]),
    ],
)
def test_rounding_by_hand_ties_to_even(grid: Any, x: list[float], expected: list[float]) -> None:
    assert grid.rounded(torch.tensor(x)).tolist() == expected


@pytest.mark.parametrize("grid", GRIDS.values(), ids=repr)
def test_rounding_is_to_the_nearest_number_at_every_tie_and_beside_it(grid: Any) -> None:
    numbers = grid.numbers()
    assert torch.equal(grid.rounded(numbers), numbers)
    middles = (numbers[1:] + numbers[:-1]) / 2
    below = torch.nextafter(middles, torch.tensor(-torch.inf))
    above = torch.nextafter(middles, torch.tensor(torch.inf))
    assert torch.equal(grid.rounded(below), numbers[:-1])
    assert torch.equal(grid.rounded(above), numbers[1:])
    even = (torch.arange(1, len(numbers)) - int(numbers.eq(0).nonzero())) % 2 == 0  # counted from zero, as codes are
    assert torch.equal(grid.rounded(middles), torch.where(even, numbers[1:], numbers[:-1]))
    assert grid.rounded(torch.tensor([-1e9, 1e9])).tolist() == [numbers[0], numbers[-1]]


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("kind", ["int", "float"])
def test_rounding_is_that_of_compressed_tensors(kind: str, bits: int) -> None:
    quantization = pytest.importorskip("compressed_tensors.quantization")
    args = number_type(kind, bits)
    theirs = quantization.QuantizationArgs.model_validate(args.model_dump(exclude_none=True))
    x = torch.cat([torch.linspace(-10, 10, 4001), torch.linspace(-600, 600, 4001)]).reshape(1, -1)
    with torch.compiler.set_stance("force_eager"):
        expected = quantization.fake_quantize(x, torch.ones(1, 1), torch.zeros(1, 1), theirs)
    assert torch.equal(grid_of(args).rounded(x), expected)


def test_what_has_no_grid_is_refused() -> None:
    assert grid_of(number_type("int", 4)) == INT4
    assert grid_of(number_type("float", 8)) == E4M3()
    for kind, bits in (("int", 16), ("int", 1), ("float", 6)):
        with pytest.raises(ValueError, match="there is no grid"):
            grid_of(number_type(kind, bits))


def test_a_grid_from_outside_is_searched_rounded_and_emulated(monkeypatch: pytest.MonkeyPatch) -> None:
    """FP6 E2M3: multiples of 1/8 below 2, of 1/4 below 4, of 1/2 up to 7.5 (OCP MX 1.0, section 5.3.2)."""

    class E2M3:
        largest = half_range = 7.5

        def rounded(self, x: Any) -> Any:
            magnitude = x.abs().clamp_(max=7.5)
            step = torch.where(magnitude < 2, 0.125, torch.where(magnitude < 4, 0.25, 0.5))
            return (magnitude / step).round_().mul_(step).copysign_(x)

    monkeypatch.setitem(GRIDS, ("float", 6), E2M3())
    args = number_type("float", 6)
    weight = torch.tensor([[7.5, 0.3, -2.9, 5.2]])
    scale = minmax_scales(to_groups(weight, args), args, storable_in(torch.float32))
    assert nearest(weight, scale, args).tolist() == [[7.5, 0.25, -3.0, 5.0]]
    left = weight.clone()
    round_block(left, scale, torch.zeros(4, dtype=torch.int64), torch.eye(4), args)
    assert left.tolist() == [[7.5, 0.25, -3.0, 5.0]]
    assert quantize_tokens(weight, grid_of(args), dtype=torch.float32).codes.tolist() == [[7.5, 0.25, -3.0, 5.0]]
