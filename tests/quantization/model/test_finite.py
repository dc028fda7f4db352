"""Numbers that are not finite end a pass by name; zeros do not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors.torch")

from whichbits.core.errors import UserError  # noqa: E402
from whichbits.formats.catalogue import get  # noqa: E402
from whichbits.formats.format import fit  # noqa: E402
from whichbits.quantization.model.finite import check_states, check_tensors, is_finite  # noqa: E402
from whichbits.quantization.passes.layer import quantize_layer  # noqa: E402
from whichbits.quantization.recipe.recipe import Recipe  # noqa: E402
from whichbits.quantization.rounding.rounded import relative_error  # noqa: E402
from whichbits.quantization.statistics.forward import InputStatistics  # noqa: E402

NAME = "model.layers.0.mlp.down_proj.weight"
FORMATS = ["w8a8-int", "w4a16-int", "w8a8-fp", "mxfp8", "nvfp4a16"]


def weight(seed: int = 0) -> torch.Tensor:
    return torch.randn(128, 128, generator=torch.Generator().manual_seed(seed)).to(torch.bfloat16)


def statistics(hessian: torch.Tensor) -> dict[str, InputStatistics]:
    return {NAME: InputStatistics(hessian, hessian.diagonal().sqrt(), [NAME.removesuffix(".weight")])}


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
@pytest.mark.parametrize("format", FORMATS)
def test_one_such_weight_is_refused_in_every_format(format: str, value: str) -> None:
    damaged = weight()
    damaged[77, 3] = float(value)
    fitted = fit(get(format), [(128, 128)])
    with pytest.raises(UserError, match=NAME):
        list(quantize_layer({NAME: damaged}, fitted, Recipe(scales="minmax")))


@pytest.mark.parametrize("format", FORMATS)
def test_zeros_are_numbers(format: str) -> None:
    """A row, a column, and a whole weight of zeros."""
    zeros = weight()
    zeros[5] = 0
    zeros[:, 9] = 0
    fitted = fit(get(format), [(128, 128)])
    (some,) = quantize_layer({NAME: zeros}, fitted, Recipe(scales="minmax"))
    (none,) = quantize_layer({NAME: torch.zeros_like(zeros)}, fitted, Recipe(scales="minmax"))
    assert 0 < some.errors.error < 0.2
    assert none.errors.error == 0


def test_an_input_channel_that_is_always_zero_is_no_mistake() -> None:
    inputs = torch.randn(300, 128, generator=torch.Generator().manual_seed(1))
    inputs[:, 17] = 0
    (module,) = quantize_layer(
        {NAME: weight()}, fit(get("w4a16-int"), [(128, 128)]), Recipe(rounding="gptq"), statistics(inputs.T @ inputs)
    )
    assert 0 < module.errors.error < 0.2


@pytest.mark.parametrize(("dtype", "remedy"), [(torch.float16, "bfloat16"), (torch.bfloat16, "text")])
def test_a_hessian_that_is_not_finite_is_named_by_module(dtype: torch.dtype, remedy: str) -> None:
    hessian = torch.eye(128)
    hessian[3, 3] = float("inf")
    with pytest.raises(UserError, match=r"layers\.0\.mlp\.down_proj") as refused:
        list(
            quantize_layer(
                {NAME: weight().to(dtype)}, fit(get("w8a8-int"), [(128, 128)]), Recipe(rounding="gptq"), statistics(hessian)
            )
        )
    assert remedy in refused.value.remedy and "damping" not in refused.value.remedy


def test_an_error_that_is_no_number_is_none() -> None:
    with pytest.raises(ArithmeticError):
        relative_error(torch.ones(2, 2), torch.tensor([[1.0, float("nan")], [1.0, 1.0]]))
    with pytest.raises(ArithmeticError):
        relative_error(torch.tensor([[float("inf"), 1.0]]), torch.ones(1, 2))


def test_what_is_finite() -> None:
    assert is_finite(torch.zeros(0)) and is_finite(torch.arange(3))
    assert is_finite(torch.tensor([65504.0] * 4, dtype=torch.float16))
    for dtype in (torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn):
        assert is_finite(torch.ones(3).to(dtype))
        assert not is_finite(torch.tensor([1.0, float("nan")]).to(dtype))
    with pytest.raises(UserError, match=r"a\.weight.*scaled by awq"):
        check_tensors({"b.weight": torch.ones(1), "a.weight": torch.tensor([float("inf")])}, "scaled by awq")


@pytest.mark.parametrize(("dtype", "remedy"), [(torch.float16, "bfloat16"), (torch.bfloat16, "damaged")])
def test_hidden_states_that_overflow_say_what_helps(dtype: torch.dtype, remedy: str) -> None:
    with pytest.raises(UserError, match="behind layer 3") as refused:
        check_states([torch.ones(1), torch.tensor([float("inf")], dtype=dtype)], "the hidden states behind layer 3")
    assert remedy in refused.value.remedy


def test_a_rotation_that_overflows_is_named(random_base: Callable[[str], Path]) -> None:
    """FP16 weights near the end of its range, whose rotation lies beyond it."""
    from whichbits.models.configuration import read_configuration
    from whichbits.quantization.transforms.rotation import RotatedTensors

    base = random_base("Llama")
    tensors = {
        name: torch.full_like(tensor, 60000, dtype=torch.float16) if "q_proj" in name else tensor
        for name, tensor in safetensors.load_file(base / "model.safetensors").items()
    }
    rotated = RotatedTensors(tensors, read_configuration(base), 0)
    with pytest.raises(UserError, match=r"q_proj\.weight.*rotated"):
        rotated["model.layers.0.self_attn.q_proj.weight"]
