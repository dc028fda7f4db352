"""The search of integer scales by weighted errors, compiled for the CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from whichbits.quantization.rounding.compiled import compiled
from whichbits.quantization.rounding.gptq_kernel import over_rows

if TYPE_CHECKING:
    import torch

    from whichbits.formats.grid.integer import Integer


def weighted_scales(groups: torch.Tensor, candidates: torch.Tensor, importance: torch.Tensor, grid: Integer) -> torch.Tensor:
    """Of each group's `candidates` the scale with the smallest weighted error (see `scales`) on the grid; the first of equals.

    All float32: `groups` [scale rows, scale columns, weights], `candidates` [number, scale rows, scale columns], `importance`
    [1, scale columns, weights]; the result is [scale rows, scale columns]. Rows are shared among torch's threads.
    """
    import torch

    best = torch.empty(groups.shape[:2])
    arrays = [tensor.contiguous().numpy() for tensor in (groups, candidates, importance[0])]
    low, high = np.float32(grid.lowest), np.float32(grid.largest)

    def run(rows: slice) -> None:
        _search_rows(arrays[0][rows], arrays[1][:, rows], arrays[2], low, high, best.numpy()[rows])

    over_rows(run, len(groups))
    return best


@compiled(nogil=True, error_model="numpy", fastmath={"reassoc"})
def _search_rows(
    groups: Any, candidates: Any, importance: Any, low: np.float32, high: np.float32, best: Any
) -> None:  # pragma: no cover - compiled
    rows, columns, weights = groups.shape
    for row in range(rows):
        for column in range(columns):
            least = np.float32(np.inf)
            best[row, column] = candidates[0, row, column]
            for number in range(len(candidates)):
                scale = candidates[number, row, column]
                error = np.float32(0)
                for weight in range(weights):
                    exact = groups[row, column, weight]
                    difference = np.rint(min(max(exact / scale, low), high)) * scale - exact
                    # The power of WEIGHTED_EXPONENT.
                    error += difference * difference * np.sqrt(abs(difference)) * importance[column, weight]
                if error < least:
                    least = error
                    best[row, column] = scale
