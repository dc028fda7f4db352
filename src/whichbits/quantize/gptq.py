"""GPTQ: rounding a weight column by column, the error of each made up for by those not yet rounded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from whichbits.quantize.columns import round_block

if TYPE_CHECKING:
    import torch

    from whichbits.formats.format import QuantizationArgs
    from whichbits.quantize.hessian import Factor

BLOCK = 128
"""Columns whose updates of those behind the block are applied at once (the paper's B)."""


def gptq(weight: torch.Tensor, args: QuantizationArgs, scale: torch.Tensor, factor: Factor) -> torch.Tensor:
    """`weight` [rows, columns] on the grid of `args`, float32: the error of its output over the Hessian's tokens kept small.

    `scale` float32 [scale rows, scale columns] is found beforehand on the original weight and stays fixed, so columns can be
    visited in any order (`factor.order`) while groups keep theirs and the kernel needs no index ("static" act-order).
    Source: GPTQ (Frantar et al., arXiv 2210.17323), algorithm 1.
    """
    import torch

    by_row, group = scales_by_row(scale, args, *weight.shape)
    group = group.to(weight.device)[factor.order]
    left = weight.to(torch.float32)[:, factor.order]
    columns = left.shape[1]
    for begin in range(0, columns, BLOCK):
        end = min(begin + BLOCK, columns)
        block = left[:, begin:end].contiguous()
        errors = round_block(block, by_row, group[begin:end], factor.upper[begin:end, begin:end], args)
        left[:, begin:end] = block
        left[:, end:].addmm_(errors, factor.upper[begin:end, end:], alpha=-1)
    rounded = torch.empty_like(left)
    rounded[:, factor.order] = left
    return rounded


def scales_by_row(scale: torch.Tensor, args: QuantizationArgs, rows: int, columns: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Scales of each row [rows, groups], and the group of each column, int64 [columns], for any strategy."""
    import torch

    height, width = rows, columns
    match args.strategy:
        case "channel":
            height = 1
        case "group" | "tensor_group" if args.group_size:
            height, width = 1, args.group_size
        case "block" if args.block_structure:
            height, width = args.block_structure
    return scale.repeat_interleave(height, dim=0)[:rows].contiguous(), torch.arange(columns) // width
