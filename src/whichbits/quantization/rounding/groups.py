"""Which weights share a scale."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from whichbits.formats.format import QuantizationArgs


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
