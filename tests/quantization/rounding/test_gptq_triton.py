"""The Triton kernel in Triton's interpreter, which runs it on the CPU as numpy would."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import pytest

torch = pytest.importorskip("torch")
if find_spec("triton") is None:  # not imported here: it looks at TRITON_INTERPRET once, when it is
    pytest.skip("Triton is not installed: it comes with PyTorch's builds for GPUs", allow_module_level=True)

from whichbits.formats.format import QuantizationArgs  # noqa: E402
from whichbits.formats.grid.grid import grid_of  # noqa: E402
from whichbits.quantization.rounding.gptq import round_block_torch  # noqa: E402

GRIDS = {
    0: QuantizationArgs(num_bits=4, type="int", symmetric=True, strategy="channel", dynamic=False),
    1: QuantizationArgs(num_bits=8, type="float", symmetric=True, strategy="channel", dynamic=False),
    2: QuantizationArgs(num_bits=4, type="float", symmetric=True, strategy="channel", dynamic=False),
}


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    from whichbits.quantization.rounding.gptq_triton import round_block_triton

    return round_block_triton


@pytest.mark.parametrize("kind", GRIDS)
@pytest.mark.parametrize(("rows", "columns"), [(5, 12), (33, 16)])
def test_equal_to_plain_torch(kernel: Any, kind: int, rows: int, columns: int) -> None:
    generator = torch.Generator().manual_seed(kind)
    weight = torch.randn(rows, columns, generator=generator) * torch.logspace(-4, 1, rows).unsqueeze(1)
    scale = torch.rand(rows, 3, generator=generator) * 0.1 + 0.01
    group = torch.randint(0, 3, (columns,), generator=generator)
    upper = (torch.randn(columns, columns, generator=generator) * 0.1).triu() + torch.eye(columns)
    rounded, expected = weight.clone(), weight.clone()
    errors = kernel(rounded, scale, group, upper, kind=kind, low=-8.0, high=7.0)
    torch.testing.assert_close(
        errors, round_block_torch(expected, scale, group, upper, grid_of(GRIDS[kind])), rtol=1e-6, atol=0
    )
    torch.testing.assert_close(rounded, expected, rtol=1e-6, atol=0)
    assert not torch.equal(rounded, weight)


@pytest.mark.parametrize("kind", GRIDS)
def test_rounding_is_that_of_the_grid_at_every_number_and_tie(kernel: Any, kind: int) -> None:
    grid = grid_of(GRIDS[kind])
    numbers = grid.numbers()
    points = torch.cat([numbers, (numbers[1:] + numbers[:-1]) / 2])
    above, below = (torch.nextafter(points, torch.tensor(end)) for end in (torch.inf, -torch.inf))
    points = torch.cat([points, above, below]).unsqueeze(1)
    rounded, one = points.clone(), torch.ones(len(points), 1)
    kernel(rounded, one, torch.zeros(1, dtype=torch.int64), torch.ones(1, 1), kind=kind, low=-8.0, high=7.0)
    assert torch.equal(rounded, grid.rounded(points))
