from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
quantization = pytest.importorskip("compressed_tensors.quantization")
helpers = pytest.importorskip("compressed_tensors.quantization.utils.helpers")

from whichbits.formats.format import QuantizationArgs  # noqa: E402
from whichbits.formats.grid.e8m0 import E8M0  # noqa: E402
from whichbits.formats.grid.grid import grid_of  # noqa: E402
from whichbits.quantization.rounding.groups import to_groups  # noqa: E402
from whichbits.quantization.rounding.scales import (  # noqa: E402
    SHRINK,
    minmax_scales,
    mse_scales,
    nvfp4_global_scale,
    storable_in,
    storable_under,
)


def args(num_bits: int, type: str, **rest: object) -> QuantizationArgs:
    values = {"num_bits": num_bits, "type": type, "symmetric": True, "strategy": "channel", "dynamic": False, **rest}
    return QuantizationArgs.model_validate(values)


INT4, INT8, FP8 = args(4, "int"), args(8, "int"), args(8, "float")
MXFP4 = args(4, "float", strategy="group", group_size=32, scale_dtype="torch.uint8")
MXFP8 = args(8, "float", strategy="group", group_size=32, scale_dtype="torch.uint8")
BF16 = storable_in(torch.bfloat16)


def random_weight(seed: int, rows: int = 6, columns: int = 64) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed)) * 0.02


def test_minmax_by_hand() -> None:
    groups = torch.tensor([[[-3.0, 7.5, 1.0]], [[-15.0, 2.0, 0.0]]])
    assert minmax_scales(groups, INT4, BF16).tolist() == [[1.0], [2.0]]
    assert minmax_scales(groups * 17, INT8, BF16).tolist() == [[1.0], [2.0]]
    assert minmax_scales(torch.tensor([[[448.0, -896.0]]]), FP8, BF16).tolist() == [[2.0]]


def test_scales_are_rounded_to_what_is_stored_and_never_zero() -> None:
    assert BF16(torch.tensor([1 + 2.0**-9, 0.0])).tolist() == [1.0, 2.0**-7]
    assert storable_in(torch.float16)(torch.tensor([1e-9])).item() > 0
    stored = storable_under(torch.tensor([8.0]))(torch.tensor([1.0, 0.13, 0.0, 1e9])) * 8
    assert stored.tolist() == [8.0, 1.0, 0.125, 448.0]


@pytest.mark.parametrize("args", [INT4, INT8, FP8, MXFP4, MXFP8])
def test_minmax_scales_are_those_of_compressed_tensors(args: QuantizationArgs) -> None:
    theirs = quantization.QuantizationArgs.model_validate(args.model_dump(exclude_none=True))
    groups = to_groups(random_weight(0), args)
    expected, _ = helpers.calculate_qparams(groups.amin(2), groups.amax(2), theirs)
    storable = E8M0().rounded if args.scale_dtype else storable_in(torch.float32)
    torch.testing.assert_close(minmax_scales(groups, args, storable), expected, rtol=1e-6, atol=0)


def test_nvfp4_global_scale_is_that_of_compressed_tensors() -> None:
    weight = random_weight(1)
    expected = helpers.generate_gparam(weight.amin(), weight.amax())
    assert torch.equal(nvfp4_global_scale(weight.abs().amax()), expected.reshape(1))


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("last", ["positive", "negative"])
def test_the_search_finds_the_grid_of_a_model_trained_on_it(bits: int, last: str) -> None:
    bound = 2 ** (bits - 1)
    codes = torch.randint(-bound + 2, bound - 1, (5, 1, 64), generator=torch.Generator().manual_seed(0)).to(torch.float32)
    codes[:, 0, 0] = bound - 1 if last == "positive" else -bound
    scale = torch.tensor([2.0**-k for k in range(5)]).reshape(5, 1)
    assert torch.equal(mse_scales(codes * scale.unsqueeze(2), args(bits, "int"), BF16), scale)


def brute_force(values: np.ndarray, bits: int) -> float:
    """The least sum of |error|^2.4 over ten thousand scales, in numpy."""
    bound = 2 ** (bits - 1)
    scales = np.abs(values).max() / (bound - 0.5) * np.linspace(0.6, 1.2, 10_000)[:, None]
    rounded = np.clip(np.round(values / scales), -bound, bound - 1) * scales
    return float((np.abs(rounded - values) ** 2.4).sum(axis=1).min())


def test_the_search_comes_close_to_a_fine_brute_force() -> None:
    weight = random_weight(2, rows=20)
    scale = mse_scales(weight.unsqueeze(1), INT4, storable_in(torch.float32))
    found = (grid_of(INT4).rounded(weight / scale) * scale - weight).abs().pow(2.4).sum(dim=1)
    best = np.array([brute_force(row, 4) for row in weight.double().numpy()])
    assert (found.numpy() >= best * (1 - 1e-4)).all()
    assert (found.numpy() / best).mean() < 1.1


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), which=st.sampled_from([INT4, INT8, FP8, MXFP4, MXFP8]), heavy=st.booleans())
def test_the_search_never_does_worse_than_minmax(seed: int, which: QuantizationArgs, heavy: bool) -> None:
    weight = random_weight(seed) ** 3 if heavy else random_weight(seed)
    groups = to_groups(weight, which)
    storable = E8M0().rounded if which.scale_dtype else BF16

    def error(scale: torch.Tensor) -> torch.Tensor:
        return (grid_of(which).rounded(groups / scale.unsqueeze(2)) * scale.unsqueeze(2) - groups).abs().pow(2.4).sum(dim=2)

    assert (error(mse_scales(groups, which, storable)) <= error(minmax_scales(groups, which, storable)) * (1 + 1e-5)).all()


def test_chunks_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    groups = to_groups(random_weight(3, rows=50), INT4)
    whole = mse_scales(groups, INT4, BF16)
    monkeypatch.setattr("whichbits.quantization.rounding.scales.CHUNK_WEIGHTS", 200)
    assert torch.equal(mse_scales(groups, INT4, BF16), whole)


@pytest.mark.parametrize("which", [INT4, INT8, args(4, "int", strategy="group", group_size=16)])
def test_compiled_and_plain_search_by_weighted_errors_agree(which: QuantizationArgs) -> None:
    generator = torch.Generator().manual_seed(5)
    groups = to_groups(random_weight(4, rows=19), which)
    importance = to_groups(torch.rand(1, 64, generator=generator), which)
    compiled = mse_scales(groups, which, BF16, importance)
    multiples = sorted(
        {grid_of(which).half_range / (2 ** (which.num_bits - 1) - end) for end in (0, 1)} | set(SHRINK), reverse=True
    )
    start = groups.abs().amax(dim=2) / grid_of(which).half_range
    candidates = torch.stack([BF16(start * multiple) for multiple in multiples]).unsqueeze(3)
    errors = ((grid_of(which).rounded(groups / candidates) * candidates - groups).abs() ** 2.5 * importance).sum(dim=3)
    assert torch.equal(compiled, candidates.squeeze(3).gather(0, errors.argmin(dim=0, keepdim=True))[0])
