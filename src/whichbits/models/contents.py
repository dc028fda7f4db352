"""The numbers of a safetensors file, looked at while its bytes are read for its hash: NaN, infinity, matrices of zeros."""

from __future__ import annotations

import json
import struct
from bisect import bisect_right
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

BLOCK = 2**20
"""Bytes that are read, hashed and looked at in one go: few enough to stay in the processor's cache."""

EXPONENTS: dict[str, tuple[int, int]] = {
    "BF16": (2, 0x7F80),
    "F16": (2, 0x7C00),
    "F32": (4, 0x7F800000),
    "F64": (8, 0x7FF0000000000000),
    "F8_E4M3": (1, 0x7F),
    "F8_E5M2": (1, 0x7C),
}
"""Bytes of a number, and the smallest bit pattern without its sign that is no finite number, by safetensors' dtype."""

SCALES = frozenset({"weight_scale", "weight_scale_inv", "scales", "weight_global_scale", "input_scale"})
"""What multiplies codes: all zero, it makes zeros of them."""

HALF = 0x477FF000
"""The bit pattern of 65520 in float32, the smallest number that FP16 rounds to infinity."""


@dataclass(frozen=True)
class Damage:
    """Names of tensors with numbers that are not finite, each with how many, and of matrices and scales that are all zero."""

    not_finite: tuple[tuple[str, int], ...] = ()
    zero: tuple[str, ...] = ()
    beyond_half: tuple[str, ...] = ()
    """Those in float32 that FP16 cannot hold."""
    zero_norms: tuple[str, ...] = ()
    """Weights of norms that are all zero, as those of a Gemma that has not been trained are."""


@dataclass
class _Tensor:
    name: str
    dtype: str
    begin: int
    end: int
    never_zero: bool
    norm: bool
    not_finite: int = 0
    zero: bool = True
    beyond_half: bool = False


class Contents:
    """Looks at a safetensors file, of which it is given the bytes in their order.

    A file that is none, or whose header does not fit it, is looked at no further: who reads its header says what is wrong.
    """

    def __init__(self, file: Path) -> None:
        self._tensors = _tensors(file)
        self._begins = [tensor.begin for tensor in self._tensors]

    def look(self, block: memoryview, position: int) -> None:
        """Look at `block`, which begins `position` bytes from the file's beginning, both multiples of 8 but at the end."""
        end = position + len(block)
        first = max(0, bisect_right(self._begins, position) - 1)
        for tensor in self._tensors[first:]:
            if tensor.begin >= end:
                return
            if tensor.end > position:
                _look(tensor, block[max(0, tensor.begin - position) : min(len(block), tensor.end - position)])

    def damage(self) -> Damage:
        """What was found."""
        return Damage(
            tuple((tensor.name, tensor.not_finite) for tensor in self._tensors if tensor.not_finite),
            tuple(tensor.name for tensor in self._tensors if tensor.zero and tensor.never_zero),
            tuple(tensor.name for tensor in self._tensors if tensor.beyond_half),
            tuple(tensor.name for tensor in self._tensors if tensor.zero and tensor.norm),
        )


def _look(tensor: _Tensor, part: memoryview) -> None:
    """Two maxima say all: one as signed whole numbers, for the positive ones, one as unsigned, for the negative ones."""
    size, limit = EXPONENTS.get(tensor.dtype, (1, 0))
    unsigned = np.frombuffer(part[: len(part) // size * size], np.dtype(f"<u{size}"))
    if not unsigned.size:
        return
    sign = 1 << (8 * size - 1)
    positive, largest = int(unsigned.view(f"<i{size}").max()), int(unsigned.max())
    tensor.zero = tensor.zero and positive <= 0 and (largest == 0 or (limit > 0 and largest <= sign))
    if tensor.dtype == "F32" and (positive >= HALF or largest >= sign + HALF):
        tensor.beyond_half = True
    if limit and (positive >= limit or largest >= sign + limit):
        tensor.not_finite += int(np.count_nonzero((unsigned & (sign - 1)) >= limit))


def _tensors(file: Path) -> list[_Tensor]:
    size = file.stat().st_size
    with file.open("rb") as opened:
        prefix = opened.read(8)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else size
        if 8 + length > size:
            return []
        try:
            header: dict[str, Any] = json.loads(opened.read(length))
            header.pop("__metadata__", None)
            found = [
                _Tensor(
                    name,
                    entry["dtype"],
                    8 + length + entry["data_offsets"][0],
                    8 + length + entry["data_offsets"][1],
                    (len(entry["shape"]) >= 2 and name.endswith((".weight", ".weight_packed", ".qweight")))
                    or name.rpartition(".")[2] in SCALES,
                    len(entry["shape"]) == 1 and name.endswith(".weight"),
                )
                for name, entry in header.items()
            ]
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
            return []
    return sorted((tensor for tensor in found if tensor.end > tensor.begin), key=lambda tensor: tensor.begin)
