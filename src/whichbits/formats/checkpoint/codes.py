"""The tensors of a quantized checkpoint, and which of its model's 16-bit weights they stand for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from whichbits.core.errors import UserError
from whichbits.formats.checkpoint.files import Stored

CODES = ("weight_packed", "qweight", "weight")
"""What a module's codes are called, by the tool that made them."""

SCALES = ("weight_scale", "weight_scale_inv", "scales")

ZEROS = ("weight_zero_point", "qzeros")

BESIDE = frozenset({
    *SCALES, "weight_zero_point", "weight_shape", "weight_g_idx", "weight_global_scale", "input_scale", "input_zero_point",
    "input_global_scale", "output_scale", "activation_scale", "g_idx", "qzeros",
})  # fmt: skip
"""What a quantized module holds beside its codes."""

CACHE = frozenset({f"{part}_{what}" for part in ("q", "k", "v") for what in ("scale", "zero_point")})
"""What attention holds where its key-value cache is quantized."""

FULL = ("BF16", "F16", "F32", "F64")
"""Dtypes of weights that are no codes."""


@dataclass(frozen=True)
class Layout:
    """How codes are stored: the bits of one, and, in a word of several, along which dimension they are packed.

    `transposed` where the stored matrix has a row for each input (GPTQ, AWQ). `beside` are the tensors that every quantized
    module holds beside its codes; one of SCALES is needed in any case. `dtypes` are those that codes can have, by safetensors'
    name, none where nothing is stated. `shared` is how many weights of a row share a scale: a number, "row", "block", or None
    where nothing is stated.
    """

    bits: int | None
    packed: int | None = None
    transposed: bool = False
    beside: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = ()
    shared: int | Literal["row", "block"] | None = None


def signs_of_codes(stored: Mapping[str, Stored]) -> list[str]:
    """Names that only a quantized checkpoint has: codes, by dtype, and what is beside them, by name."""
    return [
        name
        for name, tensor in stored.items()
        if (last := name.rpartition(".")[2]) in BESIDE or last in ("weight_packed", "qweight") or is_code(tensor)
    ]


def is_code(tensor: Stored) -> bool:
    """Whether a matrix holds codes, by its dtype."""
    return len(tensor.shape) >= 2 and tensor.dtype not in (*FULL, "BOOL")


def weights_of_codes(stored: Mapping[str, Stored], layout: Layout) -> dict[str, tuple[int, ...] | None]:
    """Names and shapes [rows, columns] of the 16-bit tensors that `stored` stands for (None where a shape is not known).

    Raises UserError where a module has codes without what belongs to them, or that without codes.
    """
    modules: dict[str, dict[str, Stored]] = defaultdict(dict)
    for name, tensor in stored.items():
        module, _, last = name.rpartition(".")
        modules[module][last] = tensor
    found: dict[str, tuple[int, ...] | None] = {}
    for module, parts in modules.items():
        codes = next((parts[name] for name in CODES if name in parts and (name != "weight" or is_code(parts[name]))), None)
        beside = [name for name in parts if name in BESIDE]
        if codes is None and beside and "weight" not in parts:
            raise _damaged(f"{module}.{beside[0]} has no codes beside it")
        if codes is not None:
            lacking = [name for name in layout.beside if name not in parts]
            if not any(name in parts for name in SCALES):
                lacking = lacking or [SCALES[0]]
            if lacking:
                raise _damaged(f"{module} lacks {lacking[0]} beside its codes")
        for name, tensor in parts.items():
            if name in BESIDE or name in CACHE:
                continue
            own = "weight" if tensor is codes else name
            found[f"{module}.{own}" if module else own] = _plain_shape(tensor, layout) if tensor is codes else tensor.shape
    return found


def _plain_shape(codes: Stored, layout: Layout) -> tuple[int, ...] | None:
    """Shape of the weights that codes stand for."""
    shape: Sequence[int] = codes.shape
    if layout.bits is None and codes.dtype in ("I32", "U8"):
        return None  # of several widths in one checkpoint
    if layout.bits is not None and layout.packed is not None and len(shape) == 2:
        word = 8 if codes.dtype in ("U8", "I8") else 32
        shape = [size * word // layout.bits if dimension == layout.packed else size for dimension, size in enumerate(shape)]
    return tuple(reversed(shape)) if layout.transposed else tuple(shape)


def _damaged(what: str) -> UserError:
    return UserError(f"the quantized checkpoint is damaged: {what}", remedy="download it again, or make it again")
