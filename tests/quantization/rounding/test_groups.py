from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from whichbits.formats.format import QuantizationArgs  # noqa: E402
from whichbits.quantization.rounding.groups import from_groups, to_groups  # noqa: E402


def args(num_bits: int, type: str, strategy: str = "channel", **rest: object) -> QuantizationArgs:
    values = {"num_bits": num_bits, "type": type, "symmetric": True, "strategy": strategy, "dynamic": False, **rest}
    return QuantizationArgs.model_validate(values)


INT8 = args(8, "int")


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
