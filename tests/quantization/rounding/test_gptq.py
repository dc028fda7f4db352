from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("numba")

from whichbits.formats.catalogue import get  # noqa: E402
from whichbits.formats.checkpoint.compress import compress, decompress  # noqa: E402
from whichbits.formats.format import Format, QuantizationArgs, fit  # noqa: E402
from whichbits.formats.grid.grid import grid_of  # noqa: E402
from whichbits.quantization.recipe.recipe import Recipe  # noqa: E402
from whichbits.quantization.rounding.gptq import gptq, scales_by_row  # noqa: E402
from whichbits.quantization.rounding.rounded import stored_scale  # noqa: E402
from whichbits.quantization.rounding.scales import find_scale, nvfp4_global_scale  # noqa: E402
from whichbits.quantization.rounding.weight import round_weight  # noqa: E402
from whichbits.quantization.statistics.forward import InputStatistics  # noqa: E402
from whichbits.quantization.statistics.hessian import accumulate, column_importance, factorise, mirror, output_error  # noqa: E402

FORMATS = ["w8a8-fp", "w8a8-int", "w4a16-int", "fp8-block", "nvfp4a16", "mxfp4", "mxfp8"]


def problem(rows: int = 128, columns: int = 256, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """A weight, and the Hessian of correlated inputs with a few large channels."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(32, columns, generator=generator)
    x = torch.randn(512, 32, generator=generator) @ mixing + torch.randn(512, columns, generator=generator)
    x *= torch.logspace(-0.5, 0.5, columns)[torch.randperm(columns, generator=generator)]
    hessian = torch.zeros(columns, columns)
    accumulate(hessian, x.to(torch.bfloat16))
    mirror(hessian)
    return (torch.randn(rows, columns, generator=generator) * 0.02).to(torch.bfloat16), hessian


def scale_of(weight: torch.Tensor, format: Format, scales: str = "mse", importance: torch.Tensor | None = None):
    assert format.weights
    global_scale = nvfp4_global_scale(weight.abs().amax()) if format.weights.strategy == "tensor_group" else None
    scale = find_scale(
        weight, format.weights, scales=scales, dtype=torch.bfloat16, global_scale=global_scale, importance=importance
    )
    return scale, global_scale


def by_the_paper(weight: torch.Tensor, scale: torch.Tensor, args: QuantizationArgs, hessian: torch.Tensor) -> torch.Tensor:
    """Optimal brain quantization as the paper derives it, in float64 and without blocks, factor or order of its own.

    Column by column; after each the inverse of the remaining columns' Hessian is computed anew (equation 2).
    """
    rows, columns = weight.shape
    damped = hessian.to(torch.float64) + 0.01 * hessian.diagonal().mean().to(torch.float64) * torch.eye(columns)
    left = weight.to(torch.float64).clone()
    by_row, group = scales_by_row(scale, args, rows, columns)
    for column in range(columns):
        inverse = torch.linalg.inv(damped[column:, column:])
        divisor = by_row[:, group[column]].to(torch.float64)
        rounded = grid_of(args).rounded((left[:, column] / divisor).to(torch.float32)).to(torch.float64) * divisor
        error = (left[:, column] - rounded) / inverse[0, 0]
        left[:, column:] -= error.unsqueeze(1) * inverse[0].unsqueeze(0)
        left[:, column] = rounded
    return left


@pytest.mark.parametrize("name", ["w8a8-int", "w4a16-int", "w8a8-fp"])
def test_blocks_and_factor_give_what_the_paper_derives(name: str) -> None:
    """160 columns, so that a full block and a part of one are walked."""
    weight, hessian = problem(24, 160)
    format = fit(get(name), [(24, 160)])
    scale, _ = scale_of(weight, format)
    assert format.weights
    ours = gptq(weight, format.weights, scale, factorise(hessian, damping=0.01, act_order=False))
    expected = by_the_paper(weight, scale, format.weights, hessian)
    # A weight close to a tie may fall to the other side in float32, and changes those after it.
    same = (ours.to(torch.float64) - expected).abs() < 1e-6
    assert same.to(torch.float32).mean() > 0.98
    assert output_error(ours - weight, hessian) == pytest.approx(output_error((expected - weight).float(), hessian), rel=0.02)


def test_act_order_is_the_paper_on_permuted_columns() -> None:
    weight, hessian = problem(16, 96, seed=1)
    args = get("w8a8-int").weights
    assert args
    scale, _ = scale_of(weight, get("w8a8-int"))
    order = torch.argsort(hessian.diagonal(), descending=True)
    expected = torch.empty(16, 96, dtype=torch.float64)
    expected[:, order] = by_the_paper(weight[:, order], scale, args, hessian[order][:, order])
    ours = gptq(weight, args, scale, factorise(hessian, damping=0.01, act_order=True))
    assert ((ours - expected).abs() < 1e-6).to(torch.float32).mean() > 0.98


def test_without_correlations_it_is_round_to_nearest() -> None:
    weight, hessian = problem(8, 64)
    args = get("w8a8-int").weights
    assert args
    nearest = round_weight(weight, args, Recipe(scales="mse"), None, None)
    for act_order in (False, True):
        factor = factorise(torch.diag(hessian.diagonal()), damping=0.01, act_order=act_order)
        assert torch.equal(gptq(weight, args, nearest.scale, factor), nearest.weight)


@pytest.mark.parametrize("act_order", [False, True])
@pytest.mark.parametrize("name", FORMATS)
def test_output_error_is_below_round_to_nearest_and_the_grid_is_kept(name: str, act_order: bool) -> None:
    weight, hessian = problem()
    format = fit(get(name), [(128, 256)])
    assert format.weights
    scale, global_scale = scale_of(weight, format)
    ours = gptq(weight, format.weights, scale, factorise(hessian, damping=0.01, act_order=act_order))
    nearest = round_weight(weight, format.weights, Recipe(scales="mse"), None, global_scale)
    assert torch.equal(stored_scale(scale, global_scale), nearest.scale)
    assert output_error(ours - weight, hessian) < 0.8 * output_error(nearest.weight - weight, hessian)
    stored = compress(ours, nearest.scale, format, dtype=torch.bfloat16, global_scale=global_scale)
    torch.testing.assert_close(decompress(stored, format).to(torch.float32), ours, rtol=2.0**-7, atol=1e-9)


@pytest.mark.parametrize("name", ["w8a8-int", "w4a16-int", "fp8-block"])
def test_an_activation_weighted_search_lowers_the_weighted_error(name: str) -> None:
    weight, hessian = problem(seed=2)
    format = fit(get(name), [(128, 256)])
    assert format.weights
    importance = column_importance(hessian.diagonal())
    fed = InputStatistics(hessian, hessian.diagonal().sqrt())

    def weighted_error(scales: str) -> float:
        rounded = round_weight(weight, format.weights, Recipe(scales=scales), fed, None).weight
        return float(((rounded - weight).abs().pow(2.5) * importance).sum())

    assert weighted_error("activation") < weighted_error("mse")


def test_an_activation_weighted_search_without_importance_is_an_error() -> None:
    with pytest.raises(ValueError, match="importance"):
        find_scale(torch.ones(2, 32), get("mxfp4").weights, scales="activation", dtype=torch.bfloat16)


def test_rows_make_up_for_one_another_by_hand() -> None:
    """Two rows, in different strips, whose errors count most where they add up: the second is moved by the first's error."""
    weight = torch.tensor([[0.4], [0.45]])
    args = get("w8a8-int").weights
    assert args
    scale = torch.ones(2, 1)
    columns = factorise(torch.eye(1), damping=0.01, act_order=True)
    assert gptq(weight, args, scale, columns).tolist() == [[0], [0]]
    strips = torch.cat([weight[:1], torch.zeros(31, 1), weight[1:]])
    curvature = torch.eye(33)
    curvature[0, 0], curvature[0, 32], curvature[32, 0] = 1.0001, 0.9, 0.9
    found = gptq(strips, args, torch.ones(33, 1), columns, factorise(curvature, damping=0.01, act_order=False))
    # 0.45 + 0.4 * 0.9 / 1.01 is above one half.
    assert found[[0, 32]].tolist() == [[0], [1]]


def test_both_sides_lower_the_error_that_counts_both() -> None:
    weight, hessian = problem(96, 256)
    slopes = torch.randn(400, 96, generator=torch.Generator().manual_seed(4)) @ torch.randn(96, 96)
    curvature = slopes.T @ slopes
    format = fit(get("w4a16-int"), [(96, 256)])
    assert format.weights
    scale, _ = scale_of(weight, format)
    columns = factorise(hessian, damping=0.01, act_order=True)

    def error(rounded: torch.Tensor) -> float:
        difference = rounded - weight.float()
        return float(((curvature @ difference @ hessian) * difference).sum())

    one = gptq(weight, format.weights, scale, columns)
    both = gptq(weight, format.weights, scale, columns, factorise(curvature, damping=0.01, act_order=True))
    assert error(both) < 0.8 * error(one)
    codes = both / scale.repeat_interleave(format.weights.group_size or 256, dim=1)
    torch.testing.assert_close(codes, codes.round(), rtol=0, atol=1e-4)
