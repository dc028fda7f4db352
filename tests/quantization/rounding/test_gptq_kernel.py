from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("numba")

from whichbits.formats.format import QuantizationArgs  # noqa: E402
from whichbits.quantization.rounding.gptq_kernel import round_block, round_block_torch  # noqa: E402

GRIDS = {
    name: QuantizationArgs(num_bits=bits, type=kind, symmetric=True, strategy="channel", dynamic=False)
    for name, bits, kind in [("int8", 8, "int"), ("int4", 4, "int"), ("fp8", 8, "float"), ("fp4", 4, "float")]
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
    expected = round_block_torch(plain, scale, group, upper, GRIDS[name])
    assert torch.equal(compiled, plain)
    assert torch.equal(errors, expected)
    assert not torch.equal(compiled, weight)


@pytest.mark.parametrize(("name", "dtype"), [("fp8", torch.float8_e4m3fn), ("fp4", None)])
def test_compiled_rounding_of_floats_at_every_number_and_tie(name: str, dtype: torch.dtype | None) -> None:
    """All numbers of the grid, all midpoints between them, and their neighbours in float32, against torch's own conversion."""
    if dtype is None:
        numbers = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6])
    else:
        numbers = torch.arange(127, dtype=torch.uint8).view(dtype).to(torch.float32)
    points = torch.cat([numbers, (numbers[1:] + numbers[:-1]) / 2, numbers * 1.5])
    points = torch.cat([points, torch.nextafter(points, points + 1), torch.nextafter(points, points - 1)])
    points = torch.cat([points, -points]).unsqueeze(0)
    rounded = points.clone()
    one = torch.ones(1, 1)
    round_block(rounded, one, torch.zeros(points.shape[1], dtype=torch.int64), torch.eye(points.shape[1]), GRIDS[name])
    largest = float(numbers.max())
    if dtype is not None:
        assert torch.equal(rounded, points.clamp(-largest, largest).to(dtype).to(torch.float32))
    distances = (points.clamp(-largest, largest).abs().T - numbers).abs()
    torch.testing.assert_close(
        (rounded - points.clamp(-largest, largest)).abs().squeeze(0), distances.amin(dim=1), rtol=0, atol=0
    )


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
