from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from whichbits.formats.catalogue import get  # noqa: E402
from whichbits.quantization.rounding.fake_quantize import activations_quantized, quantized_activations  # noqa: E402


def test_int8_tokens_by_hand() -> None:
    args = get("w8a8-int").activations
    assert args is not None
    # The token's largest magnitude is 127 steps: a step is 2 here, so 3 lies halfway and goes to the even code 2, 4.
    x = torch.tensor([[[254.0, 3.0, -5.2, 0.0], [0.0, 0.0, 0.0, 0.0]]])
    assert quantized_activations(x, args).tolist() == [[[254.0, 4.0, -6.0, 0.0], [0.0, 0.0, 0.0, 0.0]]]


def test_fp8_tokens_by_hand() -> None:
    args = get("w8a8-fp").activations
    assert args is not None
    # 448 is the largest number of E4M3; between 256 and 448 its numbers are 32 apart, between 16 and 32 they are 2 apart.
    x = torch.tensor([[448.0, 300.0, -17.5]])
    assert quantized_activations(x, args).tolist() == [[448.0, 288.0, -18.0]]


def test_scales_found_beforehand_are_left_alone() -> None:
    args = get("w8a8-int").activations
    assert args is not None
    x = torch.randn(2, 8)
    assert quantized_activations(x, args.model_copy(update={"dynamic": False, "strategy": "tensor"})) is x


def test_modules_are_fed_for_a_while_and_share_what_they_share() -> None:
    args = get("w8a8-int").activations
    fed: list[torch.Tensor] = []
    modules = [torch.nn.Identity() for _ in range(2)]
    x = torch.tensor([[254.0, 3.0]])
    with activations_quantized(modules, args):
        fed += [module(x) for module in modules]
    assert fed[0].tolist() == [[254.0, 4.0]]
    assert fed[0] is fed[1]
    assert all(module(x) is x for module in modules)
    with activations_quantized(modules, None):
        assert modules[0](x) is x
