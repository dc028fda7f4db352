"""FP8 E4M3: a sign, four bits of exponent, three of mantissa, no infinities.

Source: FP8 Formats for Deep Learning (arXiv 2209.05433); torch calls it float8_e4m3fn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

AT_ONCE = 2**18
"""Codes that are decoded at once, so that what is held meanwhile stays in the processor's cache."""


@dataclass(frozen=True)
class E4M3:
    """Multiples of 2^-9 below 2^-6, eight numbers for each power of two above, at most 448."""

    largest: float = 448.0
    half_range: float = 448.0

    def numbers(self) -> torch.Tensor:
        """All numbers, rising, float32."""
        import torch

        magnitudes = self.decode(torch.arange(127, dtype=torch.uint8))
        return torch.cat([-magnitudes[1:].flip(0), magnitudes])

    def rounded(self, x: torch.Tensor) -> torch.Tensor:
        """`x` clipped to the range and rounded to the nearest number, ties to even, in its dtype."""
        return self.decode(self.encode(x)).to(x.dtype)

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Codes as torch.float8_e4m3fn has them, uint8."""
        import torch

        return x.clamp(-self.largest, self.largest).to(torch.float8_e4m3fn).view(torch.uint8)

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        """The numbers of codes, float32; on the CPU by a table of all 256."""
        import torch

        if codes.device.type != "cpu":
            return codes.view(torch.float8_e4m3fn).to(torch.float32)
        table = torch.arange(256, dtype=torch.uint8).view(torch.float8_e4m3fn).to(torch.float32)
        flat, numbers = codes.reshape(-1), torch.empty(codes.numel())
        for begin in range(0, len(flat), AT_ONCE):
            part = slice(begin, begin + AT_ONCE)
            torch.index_select(table, 0, flat[part].to(torch.int32), out=numbers[part])
        return numbers.view(codes.shape)
