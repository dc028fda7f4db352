from __future__ import annotations

from dataclasses import dataclass

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("numba")

from whichbits.formats.catalogue import get  # noqa: E402
from whichbits.formats.checkpoint.compress import decompress  # noqa: E402
from whichbits.formats.format import fit  # noqa: E402
from whichbits.quantization.passes.layer import quantize_layer  # noqa: E402
from whichbits.quantization.recipe.recipe import Recipe  # noqa: E402
from whichbits.quantization.rounding.weight import round_weight  # noqa: E402
from whichbits.quantization.statistics.forward import InputStatistics  # noqa: E402

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


@dataclass(frozen=True)
class Restored:
    """A weight as it is stored in INT8, and the error of its output."""

    weight: torch.Tensor
    error: float


def restored(weight: torch.Tensor, fed: InputStatistics, asymmetric: float, residual: float = 0.0) -> Restored:
    """The weight quantized with GPTQ, corrected with these strengths."""
    format, name = fit(get("w8a8-int"), [(ROWS, COLUMNS)]), "model.layers.0.self_attn.o_proj"
    recipe = Recipe(rounding="gptq", input_error_correction=asymmetric, residual_error_correction=residual, damping=1e-5)
    (module,) = quantize_layer({f"{name}.weight": weight}, format, recipe, {f"{name}.weight": fed})
    assert module.errors.output_error
    packed = {key.removeprefix(f"{name}."): tensor for key, tensor in module.tensors.items()}
    return Restored(decompress(packed, format).float(), module.errors.output_error)


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
    moved = statistics(inputs)
    moved.cross = 0.1 * moved.hessian
    plain, corrected = (restored(weight, fed, asymmetric) for fed, asymmetric in ((statistics(inputs), 0.0), (moved, 1.0)))
    assert (corrected.weight - weight).norm() > 5 * (plain.weight - weight).norm()
    assert corrected.error < 2 * plain.error


def test_the_error_of_the_stream_moves_the_weight_by_least_squares_but_not_far(
    inputs: torch.Tensor, weight: torch.Tensor
) -> None:
    """By half of what the recipe's strength says, and never by more than a fifth of the weight's length."""
    change = torch.randn(ROWS, COLUMNS, generator=torch.Generator().manual_seed(2))
    change *= 0.2 * weight.float().norm() / change.norm()
    for length, expected in ((1.0, 0.5), (100.0, 1.0)):
        fed = statistics(inputs)
        fed.cross, fed.residual = torch.zeros_like(fed.hessian), {"o_proj": length * change @ fed.hessian}
        found = restored(weight, fed, 0.0, residual=0.5).weight - weight.float()
        assert float((found * change).sum() / change.square().sum()) == pytest.approx(expected, rel=0.05)
        assert float(found.norm() / change.norm()) == pytest.approx(expected, rel=0.05)


def test_the_scale_of_a_tensor_covers_what_the_weight_was_corrected_to(inputs: torch.Tensor, weight: torch.Tensor) -> None:
    """NVFP4 has one scale for a tensor, found before its groups' own."""
    format = fit(get("nvfp4a16"), [(ROWS, COLUMNS)])
    fed = statistics(inputs)
    fed.cross = torch.zeros_like(fed.hessian)
    change = torch.zeros(ROWS, COLUMNS)
    change[3, 5] = 3 * float(weight.abs().max())
    fed.residual = {"o_proj": change @ fed.hessian}
    recipe = Recipe(rounding="gptq", residual_error_correction=1.0, damping=1e-6)
    name = "model.layers.0.self_attn.o_proj"
    (moved,) = quantize_layer({f"{name}.weight": weight}, format, recipe, {f"{name}.weight": fed})
    (plain,) = quantize_layer({f"{name}.weight": weight}, format, Recipe(), None)
    scales = [float(module.tensors[f"{name}.weight_global_scale"]) for module in (moved, plain)]
    assert scales[0] < 0.7 * scales[1]


def test_a_module_carries_its_errors(inputs: torch.Tensor, weight: torch.Tensor) -> None:
    format = fit(get("w8a8-int"), [(ROWS, COLUMNS)])
    name = "model.layers.0.self_attn.o_proj"
    weights, fed = {f"{name}.weight": weight}, {f"{name}.weight": statistics(inputs)}
    (module,) = quantize_layer(weights, format, Recipe(rounding="gptq"), fed)
    assert module.errors.module == name
    assert module.errors.output_error and module.errors.rtn_output_error
    assert module.errors.output_error < module.errors.rtn_output_error
    (nearest,) = quantize_layer(weights, format, Recipe())
    assert nearest.errors.output_error is None and nearest.errors.rtn_output_error is None
    assert nearest.errors.error > 0
