from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("numba")

from whichbits.formats.catalogue import get  # noqa: E402
from whichbits.quantization.rounding.gptq import gptq  # noqa: E402
from whichbits.quantization.rounding.scales import find_scale  # noqa: E402
from whichbits.quantization.statistics.hessian import accumulate, factorise  # noqa: E402
from whichbits.quantization.transforms.error_correction import bounded, corrected  # noqa: E402


def problem(noise: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A weight, the base's inputs, and the inputs that arrive: shrunk and noisy, as after quantized layers."""
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(2048, 16, generator=generator) @ torch.randn(16, 64, generator=generator)
    base += 0.5 * torch.randn(2048, 64, generator=generator)
    arriving = 0.9 * base + noise * torch.randn(2048, 64, generator=generator)
    return torch.randn(24, 64, generator=generator) * 0.05, base, arriving


def sums(base: torch.Tensor, arriving: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    hessian = torch.zeros(64, 64)
    accumulate(hessian, arriving)
    return hessian, (base - arriving).T @ arriving


@pytest.mark.parametrize("act_order", [False, True])
def test_full_strength_is_least_squares(act_order: bool) -> None:
    weight, base, arriving = problem(0.5)
    hessian, cross = sums(base, arriving)
    ours = corrected(weight, cross, factorise(hessian, damping=1e-6, act_order=act_order), 1.0)
    targets = base.to(torch.float64) @ weight.to(torch.float64).T
    expected = torch.linalg.lstsq(arriving.to(torch.float64), targets).solution.T
    torch.testing.assert_close(ours.to(torch.float64), expected, rtol=1e-3, atol=1e-4)


def test_the_sum_with_the_residual_stream_comes_nearest() -> None:
    weight, base, arriving = problem(0.5)
    hessian, cross = sums(base, arriving)
    factor = factorise(hessian, damping=1e-6, act_order=True)
    stream = torch.randn(2048, 24, generator=torch.Generator().manual_seed(1))
    arriving_stream = stream + arriving @ torch.randn(64, 24, generator=torch.Generator().manual_seed(2)) * 0.01
    ours = corrected(weight, cross, factor, 1.0, (stream - arriving_stream).T @ arriving)
    targets = (stream - arriving_stream).double() + base.double() @ weight.double().T
    expected = torch.linalg.lstsq(arriving.double(), targets).solution.T
    torch.testing.assert_close(ours.double(), expected, rtol=1e-3, atol=1e-4)
    assert not torch.allclose(ours, corrected(weight, cross, factor, 1.0), rtol=1e-2, atol=1e-3)


def test_strength_goes_part_of_the_way_and_no_error_needs_no_correction() -> None:
    weight, base, arriving = problem(0.5)
    hessian, cross = sums(base, arriving)
    factor = factorise(hessian, damping=0.01, act_order=True)
    full, quarter = (corrected(weight, cross, factor, strength) for strength in (1.0, 0.25))
    torch.testing.assert_close(quarter - weight, 0.25 * (full - weight), rtol=1e-4, atol=1e-7)
    assert torch.equal(corrected(weight, torch.zeros(64, 64), factor, 1.0), weight)


def test_a_correction_is_a_fifth_as_long_as_the_weight_at_most() -> None:
    weight = problem(0.5)[0]
    direction = torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
    direction *= weight.norm() / direction.norm()
    torch.testing.assert_close(bounded(weight, weight + 3 * direction), weight + 0.2 * direction)
    near = weight + 0.1 * direction
    torch.testing.assert_close(bounded(weight, near), near)
    for same in (weight, torch.zeros_like(weight)):
        assert torch.equal(bounded(same, same.clone()), same)


def test_rounding_the_corrected_weight_is_nearer_to_the_bases_output() -> None:
    """On fresh inputs of the same kind, not those that it was calibrated on."""
    weight, base, arriving = problem(0.3)
    hessian, cross = sums(base[:1024], arriving[:1024])
    factor = factorise(hessian, damping=0.01, act_order=True)
    args = get("w8a8-int").weights
    assert args

    def error(chosen: torch.Tensor) -> float:
        scale = find_scale(chosen, args, scales="mse", dtype=torch.bfloat16)
        rounded = gptq(chosen, args, scale, factor)
        return float((arriving[1024:] @ rounded.T - base[1024:] @ weight.T).square().sum())

    assert error(corrected(weight, cross, factor, 1.0)) < 0.8 * error(weight)
