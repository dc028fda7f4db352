"""FP4 E2M1: a sign, two bits of exponent, one of mantissa.

Source: OCP Microscaling Formats (MX) Specification 1.0, section 5.3.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

MAGNITUDES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
"""In the order of their codes without the sign."""


@dataclass(frozen=True)
class E2M1:
    """Steps of 0.5 up to 2, of 1 up to 4, of 2 up to 6."""

    largest: float = 6.0
    half_range: float = 6.0

    def numbers(self) -> torch.Tensor:
        """All numbers, rising, float32."""
        import torch

        magnitudes = torch.tensor(MAGNITUDES)
        return torch.cat([-magnitudes[1:].flip(0), magnitudes])

    def rounded(self, x: torch.Tensor) -> torch.Tensor:
        """`x` clipped to the range and rounded to the nearest number, ties to even."""
        import torch

        magnitude = x.abs().clamp_(max=self.largest)
        step = torch.where(magnitude < 2, 0.5, torch.where(magnitude < 4, 1.0, 2.0))
        return (magnitude / step).round_().mul_(step).copysign_(x)
