from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
quantization = pytest.importorskip("compressed_tensors.quantization")

from whichbits.formats.format import QuantizationArgs  # noqa: E402
from whichbits.quantization.rounding.grid import from_groups, half_range, round_to_grid, to_groups  # noqa: E402


def args(num_bits: int, type: str, strategy: str = "channel", **rest: object) -> QuantizationArgs:
    values = {"num_bits": num_bits, "type": type, "symmetric": True, "strategy": strategy, "dynamic": False, **rest}
    return QuantizationArgs.model_validate(values)


INT4, INT8, FP8, FP4 = args(4, "int"), args(8, "int"), args(8, "float"), args(4, "float")


def test_half_ranges() -> None:
    assert [half_range(each) for each in (INT4, INT8, FP8, FP4)] == [7.5, 127.5, 448, 6]


@pytest.mark.parametrize(
    ("args", "x", "expected"),
    [
        (INT4, [-9.0, -8.4, -0.5, 0.5, 1.5, 6.6, 7.4, 9.0], [-8, -8, 0, 0, 2, 7, 7, 7]),
        (INT8, [-200.0, 126.5, 127.5], [-128, 126, 127]),
        (FP8, [500.0, 1.0625, 1.1875, 2.0**-10, 0.75 * 2.0**-9], [448, 1.0, 1.25, 0, 2.0**-9]),
        (FP4, [0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0, 9.0, -5.1], [0, 1, 1, 2, 2, 4, 4, 6, -6]),
    ],
)
def test_rounding_by_hand_ties_to_even(args: QuantizationArgs, x: list[float], expected: list[float]) -> None:
    assert round_to_grid(torch.tensor(x), args).tolist() == expected


@pytest.mark.parametrize("args", [INT4, INT8, FP8, FP4])
def test_rounding_is_that_of_compressed_tensors(args: QuantizationArgs) -> None:
    theirs = quantization.QuantizationArgs.model_validate(args.model_dump(exclude_none=True))
    x = torch.cat([torch.linspace(-10, 10, 4001), torch.linspace(-600, 600, 4001)]).reshape(1, -1)
    with torch.compiler.set_stance("force_eager"):
        expected = quantization.fake_quantize(x, torch.ones(1, 1), torch.zeros(1, 1), theirs)
    assert torch.equal(round_to_grid(x, args), expected)


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(1, 9), blocks=st.integers(1, 5), seed=st.integers(0, 2**31))
def test_grouping_is_undone(rows: int, blocks: int, seed: int) -> None:
    weight = torch.randn(rows, 4 * blocks, generator=torch.Generator().manual_seed(seed))
    for each in (
        INT8,
        args(8, "int", "tensor"),
        args(4, "int", "group", group_size=4),
        args(8, "float", "block", block_structure=(4, 6)),
    ):
        groups = to_groups(weight, each)
        assert torch.equal(from_groups(groups, each, *weight.shape), weight)


def test_what_shares_a_scale() -> None:
    weight = torch.arange(16.0).reshape(4, 4)
    assert to_groups(weight, INT8)[1].tolist() == [[4, 5, 6, 7]]
    assert to_groups(weight, args(4, "int", "group", group_size=2))[1].tolist() == [[4, 5], [6, 7]]
    blocks = to_groups(weight, args(8, "float", "block", block_structure=(2, 2)))
    assert blocks[1, 0].tolist() == [8, 9, 12, 13]
    ragged = to_groups(weight, args(8, "float", "block", block_structure=(3, 3)))
    assert ragged[1, 1].tolist() == [15, 0, 0, 0, 0, 0, 0, 0, 0]


def test_activations_strategies_are_no_weight_strategies() -> None:
    with pytest.raises(ValueError, match="token"):
        to_groups(torch.ones(2, 2), args(8, "int", "token"))
