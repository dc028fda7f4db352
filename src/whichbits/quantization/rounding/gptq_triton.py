"""GPTQ's loop over the columns of a block as a Triton kernel, for GPUs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import triton
import triton.language as tl

if TYPE_CHECKING:
    import torch

ROWS = 16
"""Rows that one program holds in registers, with all columns of the block."""


def round_block_triton(
    weight: torch.Tensor,
    scale: torch.Tensor,
    group: torch.Tensor,
    upper: torch.Tensor,
    *,
    kind: int,
    low: float,
    high: float,
) -> torch.Tensor:
    """Arguments and result as `gptq.round_block`, all on one device; `kind` is 0 for integers, 1 for E4M3, 2 for E2M1.

    Integers are held between `low` and `high`. Rows are independent of each other, so each program takes `ROWS` of them through
    all columns; the host only starts the kernel.
    """
    import torch

    errors = torch.empty_like(weight, memory_format=torch.contiguous_format)
    rows, columns = weight.shape
    # Triton starts kernels on the current device, which may be another than the weight's.
    with torch.cuda.device_of(weight):  # type: ignore[no-untyped-call]
        _round_rows[(triton.cdiv(rows, ROWS),)](
            weight, scale.contiguous(), group.contiguous(), upper.contiguous(), errors,
            rows, columns, scale.shape[1], weight.stride(0), low, high,
            KIND=kind, ROWS=ROWS, COLUMNS=triton.next_power_of_2(columns),
        )  # fmt: skip
    return errors


@triton.jit  # type: ignore[untyped-decorator]
def _round_rows(
    weight: Any,
    scale: Any,
    group: Any,
    upper: Any,
    errors: Any,
    rows: Any,
    columns: Any,
    groups: Any,
    stride: Any,
    low: Any,
    high: Any,
    KIND: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
) -> None:
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, COLUMNS)
    here = (row[:, None] < rows) & (column[None, :] < columns)
    left = tl.load(weight + row[:, None] * stride + column[None, :], mask=here, other=0.0)
    lost = tl.zeros((ROWS, COLUMNS), dtype=tl.float32)
    for at in range(columns):
        divisor = tl.load(scale + row * groups + tl.load(group + at), mask=row < rows, other=1.0)
        behind = tl.load(upper + at * columns + column, mask=(column >= at) & (column < columns), other=0.0)
        pivot = tl.load(upper + at * columns + at)
        chosen = column[None, :] == at
        value = tl.sum(tl.where(chosen, left, 0.0), axis=1)
        rounded = _nearest(value / divisor, low, high, KIND) * divisor
        error = (value - rounded) / pivot
        left = tl.where(chosen, rounded[:, None], left - error[:, None] * behind[None, :])
        lost = tl.where(chosen, error[:, None], lost)
    tl.store(weight + row[:, None] * stride + column[None, :], left, mask=here)
    tl.store(errors + row[:, None] * columns + column[None, :], lost, mask=here)


@triton.jit  # type: ignore[untyped-decorator]
def _nearest(x: Any, low: Any, high: Any, KIND: tl.constexpr) -> Any:
    """`rounded` of Integer, E4M3 and E2M1 (see formats/grid), compiled."""
    if KIND == 0:
        return _to_integer(tl.minimum(tl.maximum(x, low), high))
    if KIND == 1:
        magnitude = tl.minimum(tl.abs(x), 448.0)
        exponent = tl.maximum((magnitude.to(tl.int32, bitcast=True) >> 23) - 127, -6)
        step = ((exponent - 3 + 127) << 23).to(tl.float32, bitcast=True)
    else:
        magnitude = tl.minimum(tl.abs(x), 6.0)
        step = tl.where(magnitude < 2.0, 0.5, tl.where(magnitude < 4.0, 1.0, 2.0))
    rounded = _to_integer(magnitude / step) * step
    return tl.where(x < 0, -rounded, rounded)


@triton.jit  # type: ignore[untyped-decorator]
def _to_integer(x: Any) -> Any:
    """x to the nearest integer, ties to even: adding 1.5 * 2^23 leaves a float32 no room for a fraction (|x| < 2^22)."""
    return (x + 12582912.0) - 12582912.0
