from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
quantization = pytest.importorskip("compressed_tensors.quantization")
helpers = pytest.importorskip("compressed_tensors.quantization.utils")

from whichbits.formats.format import QuantizationArgs  # noqa: E402
from whichbits.quantization.rounding.nearest import nearest  # noqa: E402
from whichbits.quantization.rounding.zero_points import find_range, zero_shift  # noqa: E402

ARGS = QuantizationArgs(num_bits=4, type="int", symmetric=False, strategy="group", group_size=4, dynamic=False)


def error(weight: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor) -> torch.Tensor:
    shift = zero_shift(scale, zero, ARGS, *weight.shape)
    return (nearest(weight + shift, scale, ARGS) - shift - weight).abs()


def test_range_by_hand() -> None:
    """From 0 to 15 in steps of 1 the zero point is the first code; from -5 to 10 it is -3; all positive, it reaches to 0."""
    weight = torch.tensor([[0.0, 3.0, 8.0, 15.0, -5.0, 0.0, 10.0, 2.0], [30.0, 15.0, 16.0, 17.0, -15.0, -1.0, 0.0, -2.0]])
    scale, zero = find_range(weight, ARGS, scales="minmax", dtype=torch.bfloat16)
    assert scale.tolist() == [[1, 1], [2, 1]]
    assert zero.tolist() == [[-8, -3], [-8, 7]]
    assert float(error(weight, scale, zero)[0].max()) == 0
    assert error(weight, scale, zero)[1].tolist() == [0, 1, 0, 1, 0, 0, 0, 0]


def test_min_max_is_the_librarys() -> None:
    weight = torch.randn(16, 32, generator=torch.Generator().manual_seed(0)) + 0.3
    scale, zero = find_range(weight, ARGS, scales="minmax", dtype=torch.float32)
    groups = weight.reshape(16, 8, 4)
    args = quantization.QuantizationArgs.model_validate(ARGS.model_dump(exclude_none=True))
    expected_scale, expected_zero = helpers.calculate_qparams(groups.amin(-1), groups.amax(-1), args)
    torch.testing.assert_close(scale, expected_scale)
    assert torch.equal(zero.to(torch.int8), expected_zero)
    theirs = quantization.fake_quantize(weight, expected_scale, expected_zero, args)
    shift = zero_shift(scale, zero, ARGS, 16, 32)
    torch.testing.assert_close(nearest(weight + shift, scale, ARGS) - shift, theirs, rtol=1e-5, atol=1e-5)


def test_a_search_is_no_worse_and_a_weighted_one_heeds_the_weights() -> None:
    weight = torch.randn(64, 32, generator=torch.Generator().manual_seed(1)).pow(3)
    ranges = {scales: find_range(weight, ARGS, scales=scales, dtype=torch.bfloat16) for scales in ("minmax", "mse")}
    assert float(error(weight, *ranges["mse"]).pow(2.4).sum()) < float(error(weight, *ranges["minmax"]).pow(2.4).sum())
    importance = torch.ones(32)
    importance[::4] = 100
    weighted = find_range(weight, ARGS, scales="activation", dtype=torch.bfloat16, importance=importance)
    losses = [float((error(weight, *found).pow(2.4) * importance).sum()) for found in (weighted, ranges["mse"])]
    assert losses[0] < losses[1]
