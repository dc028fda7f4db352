"""GPTQ: rounding a weight column by column, the error of each made up for by those not yet rounded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from whichbits.formats.grid.grid import grid_of
from whichbits.quantization.rounding.gptq_kernel import compiles, round_block_compiled
from whichbits.quantization.rounding.rounder import Rounder, Unrounded

if TYPE_CHECKING:
    import torch

    from whichbits.formats.format import QuantizationArgs
    from whichbits.formats.grid.grid import Grid
    from whichbits.quantization.statistics.hessian import Factor

BLOCK = 128
"""Columns whose updates of those behind the block are applied at once (the paper's B)."""


STRIP = 32
"""Rows that are rounded at once where rows make up for the error of others."""


class Gptq(Rounder):
    """GPTQ as the recipe has it: `damping`, `shrinkage`, `act_order`."""

    def round(self, unrounded: Unrounded) -> torch.Tensor:
        """See `Rounder`. Raises ArithmeticError where the Hessian cannot be factorised."""
        recipe, fed = unrounded.recipe, unrounded.statistics
        assert fed is not None, "it is calibrated"
        factor = fed.factor(damping=recipe.damping, shrinkage=recipe.shrinkage, act_order=recipe.act_order)
        return gptq(unrounded.weight, unrounded.args, unrounded.scale, factor, unrounded.rows)


def gptq(
    weight: torch.Tensor, args: QuantizationArgs, scale: torch.Tensor, factor: Factor, rows: Factor | None = None
) -> torch.Tensor:
    """`weight` [rows, columns] on the grid of `args`, float32: the error of its output over the Hessian's tokens kept small.

    `scale` float32 [scale rows, scale columns] is found beforehand on the original weight and stays fixed, so columns can be
    visited in any order (`factor.order`) while groups keep theirs and the kernel needs no index ("static" act-order).
    With `rows`, the factor of the curvature G of the loss at the output, rows are visited in its order, and those to come are
    moved to where they make up for the error D of those before in tr(G D H D^T).
    Sources: GPTQ (Frantar et al., arXiv 2210.17323), algorithm 1; for both sides YAQA (Tseng et al., arXiv 2505.22988).
    """
    import torch

    by_row, group = scales_by_row(scale, args, *weight.shape)
    group = group.to(weight.device)[factor.order]
    left = weight.to(torch.float32).index_select(1, factor.order)
    if rows is None:
        done = _round_columns(left, by_row, group, factor, args)
    else:
        done = _round_strips(left[rows.order], by_row[rows.order], group, factor, rows.upper, args)
        done[rows.order] = done.clone()
    return done.index_select(1, torch.argsort(factor.order))


def _round_strips(
    left: torch.Tensor,
    by_row: torch.Tensor,
    group: torch.Tensor,
    factor: Factor,
    upper: torch.Tensor,
    args: QuantizationArgs,
) -> torch.Tensor:
    """Rows and columns of `left` in the order in which they are rounded; `upper` is that of the rows' factor."""
    import torch

    done = torch.empty_like(left)
    for begin in range(0, len(left), STRIP):
        end = min(begin + STRIP, len(left))
        done[begin:end] = _round_columns(left[begin:end].clone(), by_row[begin:end], group, factor, args)
        errors = left[begin:end] - done[begin:end]
        scaled = torch.linalg.solve_triangular(upper[begin:end, begin:end].T, errors, upper=False)
        left[end:].addmm_(upper[begin:end, end:].T, scaled, alpha=-1)
    return done


def _round_columns(
    left: torch.Tensor, by_row: torch.Tensor, group: torch.Tensor, factor: Factor, args: QuantizationArgs
) -> torch.Tensor:
    """`left`, its columns in the order in which they are rounded, rounded in place."""
    columns = left.shape[1]
    for begin in range(0, columns, BLOCK):
        end = min(begin + BLOCK, columns)
        block = left[:, begin:end].contiguous()
        errors = round_block(block, by_row, group[begin:end], factor.upper[begin:end, begin:end], args)
        left[:, begin:end] = block
        left[:, end:].addmm_(errors, factor.upper[begin:end, end:], alpha=-1)
    return left


def round_block(
    weight: torch.Tensor, scale: torch.Tensor, group: torch.Tensor, upper: torch.Tensor, args: QuantizationArgs
) -> torch.Tensor:
    """Round the columns of a block one after another, each passing its error on to those behind it; returns the errors.

    `weight` float32 [rows, block] is rounded in place; `scale` float32 [rows, groups]; `group` int64 [block] names each
    column's group; `upper` float32 [block, block] is the block's part of `Factor.upper`. The result, float32 [rows, block], is
    each column's error over its diagonal of `upper`. Compiled where it can be.
    Source: GPTQ (arXiv 2210.17323), algorithm 1, the inner loop.
    """
    grid = grid_of(args)
    if compiles(grid, weight.device.type):
        return round_block_compiled(weight, scale, group, upper, grid)
    return round_block_torch(weight, scale, group, upper, grid)


def round_block_torch(
    weight: torch.Tensor, scale: torch.Tensor, group: torch.Tensor, upper: torch.Tensor, grid: Grid
) -> torch.Tensor:
    """`round_block` in plain torch: for grids and devices that nothing is compiled for, and as reference."""
    import torch

    errors = torch.empty_like(weight)
    for column in range(weight.shape[1]):
        divisor = scale[:, group[column]]
        rounded = grid.rounded(weight[:, column] / divisor) * divisor
        error = (weight[:, column] - rounded) / upper[column, column]
        weight[:, column] = rounded
        weight[:, column + 1 :] -= error.unsqueeze(1) * upper[column, column + 1 :].unsqueeze(0)
        errors[:, column] = error
    return errors


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
