"""GPTQ's loop over the columns of a block, compiled for the CPU and for CUDA; `gptq.round_block` is the same in plain torch."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from whichbits.formats.grid.e2m1 import E2M1
from whichbits.formats.grid.e4m3 import E4M3
from whichbits.formats.grid.integer import Integer
from whichbits.quantization.rounding.compiled import compiled

if TYPE_CHECKING:
    import torch

    from whichbits.formats.grid.grid import Grid

INT, FP8, FP4 = 0, 1, 2
KINDS = {Integer: INT, E4M3: FP8, E2M1: FP4}
"""Grids whose rounding is compiled; a test compares each with its grid at every number and tie."""

TOGETHER = 16
"""Rows that the compiled loop takes through the columns side by side."""


def compiles(grid: Grid, device: str) -> bool:
    """Whether the loop is compiled for a grid on a type of device."""
    return type(grid) in KINDS and device in ("cpu", "cuda")


def round_block_compiled(
    weight: torch.Tensor, scale: torch.Tensor, group: torch.Tensor, upper: torch.Tensor, grid: Grid
) -> torch.Tensor:
    """`gptq.round_block` for a grid and device that `compiles`. On the CPU rows are shared among torch's threads."""
    import torch

    kind, lowest = KINDS[type(grid)], grid.lowest if isinstance(grid, Integer) else -grid.largest
    if weight.device.type == "cuda":
        from whichbits.quantization.rounding.gptq_triton import round_block_triton

        return round_block_triton(weight, scale, group, upper, kind=kind, low=lowest, high=grid.largest)
    low, high = np.float32(lowest), np.float32(grid.largest)
    errors = torch.empty_like(weight, memory_format=torch.contiguous_format)
    arrays = [tensor.contiguous().numpy() for tensor in (scale, group, upper)]

    def run(rows: slice) -> None:
        _round_rows(weight.numpy()[rows], arrays[0][rows], arrays[1], arrays[2], errors.numpy()[rows], kind, low, high)

    over_rows(run, len(weight))
    return errors


def over_rows(run: Callable[[slice], None], rows: int) -> None:
    """Share `rows` among torch's threads."""
    import torch

    threads = min(torch.get_num_threads(), rows)
    bounds = [rows * part // threads for part in range(threads + 1)]
    parts = [slice(begin, end) for begin, end in pairwise(bounds)]
    if threads == 1:
        run(parts[0])
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(run, parts))


@compiled(nogil=True, error_model="numpy")
def _round_rows(
    weight: Any, scale: Any, group: Any, upper: Any, errors: Any, kind: int, low: np.float32, high: np.float32
) -> None:  # pragma: no cover - compiled
    rows, columns = weight.shape
    # Rows lie side by side, so that each step is one instruction for all of them.
    left = np.zeros((columns, TOGETHER), np.float32)
    divisor = np.ones(TOGETHER, np.float32)
    rounded = np.zeros(TOGETHER, np.float32)
    error = np.zeros(TOGETHER, np.float32)
    for first in range(0, rows, TOGETHER):
        count = min(TOGETHER, rows - first)
        for lane in range(count):
            for column in range(columns):
                left[column, lane] = weight[first + lane, column]
        for column in range(columns):
            for lane in range(count):
                divisor[lane] = scale[first + lane, group[column]]
            if kind == INT:
                for lane in range(TOGETHER):
                    rounded[lane] = np.rint(min(max(left[column, lane] / divisor[lane], low), high)) * divisor[lane]
            elif kind == FP8:
                for lane in range(count):
                    rounded[lane] = _round_fp8(left[column, lane] / divisor[lane]) * divisor[lane]
            else:
                for lane in range(count):
                    rounded[lane] = _round_fp4(left[column, lane] / divisor[lane]) * divisor[lane]
            pivot = upper[column, column]
            for lane in range(TOGETHER):
                error[lane] = (left[column, lane] - rounded[lane]) / pivot
                left[column, lane] = rounded[lane]
            for lane in range(count):
                weight[first + lane, column] = rounded[lane]
                errors[first + lane, column] = error[lane]
            for behind in range(column + 1, columns):
                factor = upper[column, behind]
                for lane in range(TOGETHER):
                    left[behind, lane] -= error[lane] * factor


@compiled(nogil=True, error_model="numpy")
def _round_fp8(x: np.float32) -> np.float32:
    """`E4M3.rounded` of one number, compiled."""
    magnitude = min(abs(x), np.float32(448))
    exponent = max(math.frexp(magnitude)[1] - 1, -6)
    step = np.float32(math.ldexp(1.0, exponent - 3))
    return np.float32(math.copysign(np.rint(magnitude / step) * step, x))


@compiled(nogil=True, error_model="numpy")
def _round_fp4(x: np.float32) -> np.float32:
    """`E2M1.rounded` of one number, compiled."""
    magnitude = min(abs(x), np.float32(6))
    step = np.float32(0.5) if magnitude < 2 else np.float32(1) if magnitude < 4 else np.float32(2)
    return np.float32(math.copysign(np.rint(magnitude / step) * step, x))
