"""GPTQ's loop over the columns of a block: compiled for the CPU and for CUDA; plain torch elsewhere, and as reference."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

from whichbits.quantize.grid import round_to_grid

if TYPE_CHECKING:
    import torch

    from whichbits.formats.format import QuantizationArgs

INT, FP8, FP4 = 0, 1, 2


def round_block(
    weight: torch.Tensor, scale: torch.Tensor, group: torch.Tensor, upper: torch.Tensor, args: QuantizationArgs
) -> torch.Tensor:
    """Round the columns of a block one after another, each passing its error on to those behind it; returns the errors.

    `weight` float32 [rows, block] is rounded in place; `scale` float32 [rows, groups]; `group` int64 [block] names each
    column's group; `upper` float32 [block, block] is the block's part of `Factor.upper`. The result, float32 [rows, block], is
    each column's error over its diagonal of `upper`. On the CPU rows are shared among torch's threads.
    Source: GPTQ (arXiv 2210.17323), algorithm 1, the inner loop.
    """
    import torch

    kind = INT if args.type == "int" else FP8 if args.num_bits == 8 else FP4
    low, high = np.float32(-(2 ** (args.num_bits - 1))), np.float32(2 ** (args.num_bits - 1) - 1)
    if weight.device.type == "cuda":
        from whichbits.quantize.columns_triton import round_block_triton

        return round_block_triton(weight, scale, group, upper, kind=kind, low=float(low), high=float(high))
    if weight.device.type != "cpu":
        return round_block_torch(weight, scale, group, upper, args)
    errors = torch.empty_like(weight, memory_format=torch.contiguous_format)
    arrays = [tensor.contiguous().numpy() for tensor in (scale, group, upper)]
    threads = min(torch.get_num_threads(), len(weight))
    bounds = [len(weight) * part // threads for part in range(threads + 1)]

    def run(part: int) -> None:
        rows = slice(bounds[part], bounds[part + 1])
        _round_rows(weight.numpy()[rows], arrays[0][rows], arrays[1], arrays[2], errors.numpy()[rows], kind, low, high)

    if threads == 1:
        run(0)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(run, range(threads)))
    return errors


def round_block_torch(
    weight: torch.Tensor, scale: torch.Tensor, group: torch.Tensor, upper: torch.Tensor, args: QuantizationArgs
) -> torch.Tensor:
    """The same in plain torch."""
    import torch

    errors = torch.empty_like(weight)
    for column in range(weight.shape[1]):
        divisor = scale[:, group[column]]
        rounded = round_to_grid(weight[:, column] / divisor, args) * divisor
        error = (weight[:, column] - rounded) / upper[column, column]
        weight[:, column] = rounded
        weight[:, column + 1 :] -= error.unsqueeze(1) * upper[column, column + 1 :].unsqueeze(0)
        errors[:, column] = error
    return errors


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _round_rows(
    weight: Any, scale: Any, group: Any, upper: Any, errors: Any, kind: int, low: np.float32, high: np.float32
) -> None:  # pragma: no cover - compiled
    rows, columns = weight.shape
    for row in range(rows):
        for column in range(columns):
            divisor = scale[row, group[column]]
            scaled = weight[row, column] / divisor
            if kind == INT:
                code = np.rint(min(max(scaled, low), high))
            elif kind == FP8:
                code = _round_fp8(scaled)
            else:
                code = _round_fp4(scaled)
            rounded = np.float32(code * divisor)
            error = (weight[row, column] - rounded) / upper[column, column]
            weight[row, column] = rounded
            errors[row, column] = error
            for behind in range(column + 1, columns):
                weight[row, behind] -= error * upper[column, behind]


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _round_fp8(x: np.float32) -> np.float32:
    """E4M3: three bits behind the leading one, steps of 2^-9 below 2^-6, at most 448."""
    magnitude = min(abs(x), np.float32(448))
    exponent = max(math.frexp(magnitude)[1] - 1, -6)
    step = np.float32(math.ldexp(1.0, exponent - 3))
    return np.float32(math.copysign(np.rint(magnitude / step) * step, x))


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _round_fp4(x: np.float32) -> np.float32:
    """E2M1: steps of 0.5 below 2, of 1 below 4, of 2 up to 6."""
    magnitude = min(abs(x), np.float32(6))
    step = np.float32(0.5) if magnitude < 2 else np.float32(1) if magnitude < 4 else np.float32(2)
    return np.float32(math.copysign(np.rint(magnitude / step) * step, x))
