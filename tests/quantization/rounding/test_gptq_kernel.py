from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("numba")

from whichbits.formats.format import QuantizationArgs  # noqa: E402
from whichbits.formats.grid.grid import grid_of  # noqa: E402
from whichbits.quantization.rounding.gptq import round_block, round_block_torch  # noqa: E402

GRIDS = {
    name: QuantizationArgs(num_bits=bits, type=kind, symmetric=True, strategy="channel", dynamic=False)
    for name, bits, kind in [
        ("int8", 8, "int"),
        ("int4", 4, "int"),
        ("int3", 3, "int"),
        ("fp8", 8, "float"),
        ("fp4", 4, "float"),
    ]
}


@pytest.mark.parametrize("name", GRIDS)
def test_compiled_and_plain_are_equal_to_the_bit(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(37, 50, generator=generator) * torch.logspace(-4, 1, 37).unsqueeze(1)
    scale = torch.rand(37, 3, generator=generator) * 0.1 + 0.01
    group = torch.randint(0, 3, (50,), generator=generator)
    upper = (torch.randn(50, 50, generator=generator) * 0.1).triu() + torch.eye(50)
    compiled, plain = weight.clone(), weight.clone()
    errors = round_block(compiled, scale, group, upper, GRIDS[name])
    expected = round_block_torch(plain, scale, group, upper, grid_of(GRIDS[name]))
    assert torch.equal(compiled, plain)
    assert torch.equal(errors, expected)
    assert not torch.equal(compiled, weight)


@pytest.mark.parametrize("name", GRIDS)
def test_compiled_rounding_is_that_of_the_grid(name: str) -> None:
    """At all numbers of the grid, their midpoints, the neighbours of both in float32, and all numbers of BF16; to the bit."""
    args = GRIDS[name]
    numbers = grid_of(args).numbers()
    points = torch.cat([numbers, (numbers[1:] + numbers[:-1]) / 2, numbers * 1.5])
    above, below = (torch.nextafter(points, torch.tensor(end)) for end in (torch.inf, -torch.inf))
    of_bf16 = torch.arange(-(2**15), 2**15, dtype=torch.int16).view(torch.bfloat16).to(torch.float32)
    points = torch.cat([points, above, below, of_bf16[of_bf16.isfinite()]]).unsqueeze(1)
    rounded, one = points.clone(), torch.ones(len(points), 1)
    round_block(rounded, one, torch.zeros(1, dtype=torch.int64), torch.ones(1, 1), args)
    assert torch.equal(rounded.view(torch.int32), grid_of(args).rounded(points).view(torch.int32))


def test_a_grid_that_is_not_compiled_is_rounded_in_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    weight, one = torch.tensor([[0.3, 1.7]]), torch.ones(1, 1)
    monkeypatch.setattr("whichbits.quantization.rounding.gptq_kernel.KINDS", {})
    round_block(weight, one, torch.zeros(2, dtype=torch.int64), torch.eye(2), GRIDS["int4"])
    assert weight.tolist() == [[0.0, 2.0]]


def test_rows_are_shared_among_threads_without_a_change() -> None:
    generator = torch.Generator().manual_seed(1)
    weight, upper = torch.randn(7, 16, generator=generator), torch.eye(16) + 0.1
    scale, group = torch.full((7, 1), 0.1), torch.zeros(16, dtype=torch.int64)
    results = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            results.append(weight.clone())
            round_block(results[-1], scale, group, upper.triu(), GRIDS["int4"])
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*results)
