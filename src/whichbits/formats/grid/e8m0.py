"""E8M0: powers of two, the scales of microscaling formats.

Source: OCP Microscaling Formats (MX) Specification 1.0, section 5.4.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

BIAS = 127
UP = 1.75
"""Mantissa from which a scale is rounded up, as compressed-tensors does: its group's largest weight would otherwise be clipped
by most of a step."""


@dataclass(frozen=True)
class E8M0:
    """2^-127 to 2^127."""

    def numbers(self) -> torch.Tensor:
        """All numbers, rising, float32."""
        import torch

        return self.decode(torch.arange(255, dtype=torch.uint8))

    def rounded(self, x: torch.Tensor) -> torch.Tensor:
        """`x` (not negative, float32) rounded down to a power of two, but up where its mantissa is at least 1.75; 1 for 0."""
        return self.decode(self.encode(x))

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Codes of the numbers that `x` is rounded to: the exponent and 127, uint8."""
        import torch

        half_mantissa, exponent = torch.frexp(x)  # the mantissa is at least 0.5
        exponent = exponent - 1 + (half_mantissa >= UP / 2).to(exponent.dtype)
        exponent = torch.where(x == 0, torch.zeros_like(exponent), exponent)
        return (exponent.clamp(-BIAS, BIAS) + BIAS).to(torch.uint8)

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        """The numbers of codes, float32."""
        import torch

        return torch.ldexp(torch.ones(codes.shape, device=codes.device), codes.to(torch.int32) - BIAS)
