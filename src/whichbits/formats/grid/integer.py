"""INT b: the integers from -2^(b-1) to 2^(b-1) - 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Integer:
    """Signed integers of `bits` bits, at most 8."""

    bits: int

    @property
    def lowest(self) -> float:
        """The lowest number."""
        return -(2.0 ** (self.bits - 1))

    @property
    def largest(self) -> float:
        """The largest number."""
        return 2.0 ** (self.bits - 1) - 1

    @property
    def half_range(self) -> float:
        """Half the width of the range, (2^b - 1) / 2, as compressed-tensors has it.

        The grid reaches one step further below zero than above, and the largest positive weight is clipped by half a step.
        """
        return (2.0**self.bits - 1) / 2

    def numbers(self) -> torch.Tensor:
        """All numbers, rising, float32."""
        import torch

        return torch.arange(self.lowest, self.largest + 1, dtype=torch.float32)

    def rounded(self, x: torch.Tensor) -> torch.Tensor:
        """`x` clipped to the range and rounded to the nearest number, ties to even."""
        return x.clamp(self.lowest, self.largest).round_()
