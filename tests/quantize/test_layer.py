from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("numba")

from whichbits.formats.format import fit, get  # noqa: E402
from whichbits.quantize.layer import quantize_layer, round_weight  # noqa: E402
from whichbits.quantize.observe import InputStatistics  # noqa: E402
from whichbits.quantize.recipe import Recipe  # noqa: E402

ROWS, COLUMNS = 64, 320


@pytest.fixture
def inputs() -> torch.Tensor:
    """Correlated inputs of 400 tokens."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(400, 24, generator=generator) @ torch.randn(24, COLUMNS, generator=generator) + torch.randn(
        400, COLUMNS, generator=generator
    )


@pytest.fixture
def weight() -> torch.Tensor:
    return torch.randn(ROWS, COLUMNS, generator=torch.Generator().manual_seed(1)).to(torch.bfloat16)


def statistics(inputs: torch.Tensor) -> InputStatistics:
    return InputStatistics(inputs.T @ inputs, inputs.abs().amax(dim=0))


@pytest.mark.parametrize("name", ["w4a16-int", "w4a16-int-asym", "w8a8-fp"])
def test_gptqs_error_is_told_beside_that_of_rounding_to_nearest(name: str, inputs: torch.Tensor, weight: torch.Tensor) -> None:
    """Both recomputed from outputs: the first with the weight that comes back, the second with round-to-nearest's."""
    args = fit(get(name), [(ROWS, COLUMNS)], group_size=64 if "w4" in name else None).weights
    assert args
    found = round_weight(weight, args, Recipe(rounding="gptq"), statistics(inputs), None)
    plain = round_weight(weight, args, Recipe(), None, None)
    assert plain.errors is None
    assert torch.equal(plain.scale, found.scale), "the same grid"

    def by_outputs(rounded: torch.Tensor) -> float:
        return float((inputs.double() @ (rounded.double() - weight.double()).T).square().sum())

    assert found.errors == pytest.approx((by_outputs(found.weight), by_outputs(plain.weight)), rel=5e-3)
    assert found.errors[0] < found.errors[1]


def test_the_correction_for_earlier_layers_is_not_counted_as_an_error(inputs: torch.Tensor, weight: torch.Tensor) -> None:
    """The error is that of rounding the corrected weight: as small as without a correction, though the weight has moved."""
    args = fit(get("w8a8-int"), [(ROWS, COLUMNS)]).weights
    assert args
    plain = round_weight(weight, args, Recipe(rounding="gptq"), statistics(inputs), None)
    moved = statistics(inputs)
    moved.cross = 0.1 * moved.hessian
    corrected = round_weight(weight, args, Recipe(rounding="gptq", asymmetric=1.0), moved, None)
    assert plain.errors and corrected.errors
    assert (corrected.weight - weight).norm() > 5 * (plain.weight - weight).norm()
    assert corrected.errors[0] < 2 * plain.errors[0]


def test_a_module_carries_its_errors(inputs: torch.Tensor, weight: torch.Tensor) -> None:
    format = fit(get("w8a8-int"), [(ROWS, COLUMNS)])
    name = "model.layers.0.self_attn.o_proj"
    weights, fed = {f"{name}.weight": weight}, {f"{name}.weight": statistics(inputs)}
    (module,) = quantize_layer(weights, format, Recipe(rounding="gptq"), fed)
    assert module.errors.module == name
    assert module.errors.output_error and module.errors.nearest_output_error
    assert module.errors.output_error < module.errors.nearest_output_error
    (nearest,) = quantize_layer(weights, format, Recipe())
    assert nearest.errors.output_error is None and nearest.errors.nearest_output_error is None
    assert nearest.errors.error > 0
