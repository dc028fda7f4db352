"""Products of BF16 in float32, against torch's own and against float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional

from whichbits.models import float32_products as module
from whichbits.models.float32_products import ROWS, float32_products


@pytest.fixture(autouse=True)
def no_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "has_bfloat16_products", lambda: False)


@pytest.mark.parametrize("rows", [1, ROWS, 100])
@pytest.mark.parametrize("biased", [False, True])
def test_a_product_is_the_exact_one_rounded_once(rows: int, biased: bool) -> None:
    generator = torch.Generator().manual_seed(rows)
    states, weight = (torch.randn(count, 512, generator=generator).bfloat16() for count in (rows, 64))
    bias = torch.randn(64, generator=generator).bfloat16() if biased else None
    exact = functional.linear(states.double(), weight.double(), None if bias is None else bias.double())
    own = functional.linear(states[None], weight, bias)
    with float32_products():
        found = functional.linear(states[None], weight, bias)
    assert found.shape == own.shape == (1, rows, 64) and found.dtype == torch.bfloat16
    if rows >= ROWS:
        # Half a unit of BF16, and what float32 may lose before it is rounded.
        assert bool(((found[0].double() - exact).abs() <= exact.abs() * 2**-8 + 1e-4).all())
        assert float((found != exact.bfloat16()).double().mean()) < 0.01
    assert float((found != own).double().mean()) < 0.01


def test_what_is_not_bf16_is_left_alone() -> None:
    states, weight = torch.randn(ROWS, 8, dtype=torch.float64), torch.randn(4, 8, dtype=torch.float64)
    expected = functional.linear(states, weight)
    with float32_products():
        assert torch.equal(functional.linear(states, weight=weight), expected)


def test_gradients_flow_and_the_mode_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = torch.randn(4, 8).bfloat16().requires_grad_()
    with float32_products():
        functional.linear(torch.ones(ROWS, 8).bfloat16(), weight).sum().backward()
    assert weight.grad is not None and torch.equal(weight.grad, torch.full((4, 8), ROWS).bfloat16())
    monkeypatch.setattr(module, "_are_slow", None)
    functional.linear(torch.ones(ROWS, 8).bfloat16(), weight)


@pytest.mark.parametrize(
    "multiply", [lambda x, y: x @ y, torch.matmul, torch.mm, lambda x, y: x.matmul(y), lambda x, y: x.mm(y)]
)
def test_products_along_rows_are_in_float32_too(multiply: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    left, right = torch.randn(64, 512, generator=generator).bfloat16(), torch.randn(512, 32, generator=generator).bfloat16()
    seen = []
    monkeypatch.setattr(module, "_are_slow", lambda *both: seen.append(both) or True)
    with float32_products():
        found = multiply(left, right)
    assert seen and found.dtype == torch.bfloat16
    assert torch.equal(found, (left.float() @ right.float()).bfloat16())
