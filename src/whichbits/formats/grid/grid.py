"""What a number grid is, and which one a number type has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from whichbits.core.entry_points import Registry
from whichbits.formats.grid.e2m1 import E2M1
from whichbits.formats.grid.e4m3 import E4M3
from whichbits.formats.grid.integer import Integer

if TYPE_CHECKING:
    import torch


@runtime_checkable
class Grid(Protocol):
    """The numbers that a weight or an activation divided by its scale can be."""

    @property
    def largest(self) -> float:
        """The largest number, to which kernels map the largest magnitude of activations."""

    @property
    def half_range(self) -> float:
        """The magnitude to which min-max scaling maps the largest weight."""

    def numbers(self) -> torch.Tensor:
        """All numbers, rising, float32."""

    def rounded(self, x: torch.Tensor) -> torch.Tensor:
        """`x` (float32 of any shape) clipped to the range and rounded to the nearest number, ties to even."""


class NumberType(Protocol):
    """What names a grid: the quantization arguments of a format, ours and those of compressed-tensors."""

    @property
    def type(self) -> str:
        """`int` or `float`."""

    @property
    def num_bits(self) -> int:
        """Bits of a number."""


GRIDS: dict[tuple[str, int], Grid] = {
    **{("int", bits): Integer(bits) for bits in range(2, 9)},
    ("float", 8): E4M3(),
    ("float", 4): E2M1(),
}
"""Our grids by type and bits. Scales, rounding and emulation take a new one; GPTQ rounds it without compiled code."""


GROUP = "whichbits.grids"
OUTSIDE: Registry[Grid] = Registry("num_bits", "number grid", GROUP, ("whichbits.formats.grid.grid", "Grid"), {})
"""Grids of installed packages, named by type and bits as in `float6`."""


def grid_of(numbers: NumberType) -> Grid:
    """The grid of a number type. Raises ValueError where there is none."""
    grid = GRIDS.get((numbers.type, numbers.num_bits))
    if grid is not None:
        return grid
    name = f"{numbers.type}{numbers.num_bits}"
    if name not in OUTSIDE:
        raise ValueError(f"there is no grid of {numbers.type} numbers of {numbers.num_bits} bits")
    return OUTSIDE.get(name)


def is_outside(numbers: NumberType) -> bool:
    """Whether the grid of a number type is another package's."""
    return (numbers.type, numbers.num_bits) not in GRIDS and f"{numbers.type}{numbers.num_bits}" in OUTSIDE
