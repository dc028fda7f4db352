"""The numbers that a format can hold: rounding to them, and which weights share a scale."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from whichbits.formats.format import QuantizationArgs

FP8_E4M3_MAX = 448.0
FP4_E2M1_MAX = 6.0


def half_range(args: QuantizationArgs) -> float:
    """The magnitude that min-max scaling maps the largest weight to.

    For b-bit integers half the width of the range, (2^b - 1) / 2, as compressed-tensors has it: the grid reaches one step
    further below zero than above, and the largest positive weight is clipped by half a step.
    """
    if args.type == "int":
        return float(2**args.num_bits - 1) / 2
    return FP8_E4M3_MAX if args.num_bits == 8 else FP4_E2M1_MAX


def round_to_grid(x: torch.Tensor, args: QuantizationArgs) -> torch.Tensor:
    """`x` (float32, already divided by its scale) clipped to the range and rounded to the nearest number, ties to even."""
    import torch

    if args.type == "int":
        bound = 2 ** (args.num_bits - 1)
        return x.clamp(-bound, bound - 1).round_()
    if args.num_bits == 8:
        return x.clamp(-FP8_E4M3_MAX, FP8_E4M3_MAX).to(torch.float8_e4m3fn).to(x.dtype)
    magnitude = x.abs().clamp_(max=FP4_E2M1_MAX)
    step = torch.where(magnitude < 2, 0.5, torch.where(magnitude < 4, 1.0, 2.0))
    return (magnitude / step).round_().mul_(step).copysign_(x)


def to_groups(weight: torch.Tensor, args: QuantizationArgs) -> torch.Tensor:
    """View [rows, columns] as [scale rows, scale columns, weights that share the scale].

    Blocks that reach over the edge are filled with zeros.
    """
    rows, columns = weight.shape
    match args.strategy:
        case "tensor":
            return weight.reshape(1, 1, -1)
        case "channel":
            return weight.unsqueeze(1)
        case "group" | "tensor_group" if args.group_size:
            return weight.reshape(rows, columns // args.group_size, args.group_size)
        case "block" if args.block_structure:
            import torch

            height, width = args.block_structure
            down, across = ceil(rows / height), ceil(columns / width)
            padded = torch.nn.functional.pad(weight, (0, across * width - columns, 0, down * height - rows))
            return padded.reshape(down, height, across, width).transpose(1, 2).reshape(down, across, height * width)
    raise ValueError(f"weights cannot be quantized by {args.strategy}")


def from_groups(groups: torch.Tensor, args: QuantizationArgs, rows: int, columns: int) -> torch.Tensor:
    """The inverse of `to_groups`."""
    if args.strategy == "block" and args.block_structure:
        height, width = args.block_structure
        down, across, _ = groups.shape
        blocks = groups.reshape(down, across, height, width).transpose(1, 2)
        return blocks.reshape(down * height, across * width)[:rows, :columns]
    return groups.reshape(rows, columns)
