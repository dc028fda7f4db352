"""What a checkpoint's weights are, beside their names and shapes: dtypes, sizes, damage, a second output head."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Literal

from whichbits.core.errors import UserError
from whichbits.formats.checkpoint.codes import BESIDE, CACHE, FULL
from whichbits.formats.checkpoint.files import BUFFER, Stored, read_tensor
from whichbits.models.configuration import Configuration
from whichbits.models.contents import Damage

DTYPES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32", "F64": "float64"}
"""The dtypes of weights that are no codes, by safetensors' name."""


def compute_dtype(path: Path, configuration: Configuration, stored: Mapping[str, Stored]) -> Literal["bfloat16", "float16"]:
    """The dtype that engines load the weights `stored` in: what config.json states, else that of most bytes.

    Weights in float32 are rounded when they are loaded. Raises UserError where it is not one of 16 bit, or one of them is
    stored in another of 16 bit: its numbers would be rounded unasked, or are not what its header says; and where a norm's or
    bias's numbers are whole ones.
    """
    weights = {
        name: tensor
        for name, tensor in stored.items()
        if name.rpartition(".")[2] not in BESIDE | CACHE and not BUFFER.fullmatch(name)
    }
    whole = next((name for name, tensor in weights.items() if tensor.dtype not in FULL and len(tensor.shape) < 2), None)
    if whole is not None:
        raise UserError(
            f"{path}: {whole} is stored as {weights[whole].dtype}, and holds numbers of 16 bit or more in every model",
            remedy="download the model again, or save it again with transformers' save_pretrained",
        )
    weights = {name: tensor for name, tensor in weights.items() if tensor.dtype in FULL}
    sizes = dict.fromkeys(DTYPES.values(), 0)
    for tensor in weights.values():
        sizes[DTYPES[tensor.dtype]] += tensor.bytes
    most = max(sizes, key=lambda name: sizes[name]) if any(sizes.values()) else None
    dtype = configuration.dtype or most
    place = f"{path / 'config.json'} says dtype {configuration.dtype}"
    if configuration.dtype == "float32" and most in ("bfloat16", "float16"):
        raise UserError(f"{place}, and the weights are stored in {most}", remedy=f"set dtype to {most} in config.json")
    if dtype not in ("bfloat16", "float16"):
        raise UserError(
            f"{path} has dtype {dtype}, and candidates are compared with a base in 16 bit",
            remedy="save it in bfloat16 first (transformers: from_pretrained(..., dtype='bfloat16').save_pretrained(...))",
        )
    others = [name for name, tensor in weights.items() if DTYPES[tensor.dtype] not in (dtype, "float32")]
    if others:
        kind = DTYPES[weights[others[0]].dtype]
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        stated = place if configuration.dtype else f"most weights of {path} are stored in {dtype}"
        raise UserError(
            f"{stated}, and {others[0]}{more} {'are' if more else 'is'} stored in {kind}",
            remedy=f"save the model again in one dtype, or correct dtype in config.json where the weights are all {kind}",
        )
    return "bfloat16" if dtype == "bfloat16" else "float16"


def served_bytes(stored: Mapping[str, Stored], *, quantized: bool) -> int:
    """Bytes of a checkpoint's weights as engines hold them: what is stored in float32 of a 16-bit model takes half of that."""
    return sum(
        tensor.bytes // 2 if not quantized and tensor.dtype == "F32" else tensor.bytes
        for name, tensor in stored.items()
        if not BUFFER.fullmatch(name)
    )


def refuse_damage(file: Path, damage: Damage, dtype: str) -> None:
    """Raise UserError where a file holds numbers that are not finite in `dtype`, or weight matrices of zeros; it names some."""
    if damage.not_finite:
        name, count = damage.not_finite[0]
        more = f", and {len(damage.not_finite) - 1} more tensors" if len(damage.not_finite) > 1 else ""
        raise UserError(
            f"{file}: {count:,} numbers of {name} are not finite (NaN or infinity){more}",
            remedy="download the file again; if it was published so, the model is damaged",
        )
    if damage.beyond_half and dtype == "float16":
        raise UserError(
            f"{file}: {damage.beyond_half[0]} is stored in float32, and holds numbers that float16 rounds to infinity",
            remedy="save the model in bfloat16",
        )
    if damage.zero:
        more = f" and {len(damage.zero) - 1} more" if len(damage.zero) > 1 else ""
        raise UserError(
            f"{file}: all numbers of {damage.zero[0]}{more} are zero",
            remedy="download the file again; if it was published so, the model is damaged",
        )


def refuse_zero_norms(path: Path, zero: Set[str], stored: Mapping[str, Stored]) -> None:
    """Raise UserError where the weights of fewer than half of a decoder's norms are all zero: no training leaves them so.

    Where they are added to 1 (Gemma), all are zero before any training.
    """
    stacks: dict[str, list[str]] = defaultdict(list)
    for name, tensor in stored.items():
        if len(tensor.shape) == 1 and name.endswith(".weight"):
            stacks[_stack(name)].append(name)
    for norms in stacks.values():
        damaged = sorted(zero & set(norms))
        if damaged and 2 * len(damaged) < len(norms):
            raise UserError(
                f"{path}: all numbers of {damaged[0]} are zero, and those of {len(norms) - len(damaged)} other norms are not",
                remedy="download the model again; if it was published so, the model is damaged",
            )


def _stack(norm: str) -> str:
    """What holds a norm of some layer, or behind all of them: `model` for `model.layers.0.input_layernorm` and `model.norm`."""
    numbered = re.search(r"\.\d+\.", norm)
    return (norm[: numbered.start()] if numbered else norm.removesuffix(".weight")).rpartition(".")[0]


def refuse_two_heads(path: Path, configuration: Configuration, tied: Mapping[str, str], stored: Mapping[str, Stored]) -> None:
    """Raise UserError where config.json ties two parameters that are both stored, with different numbers."""
    import torch

    files = {name: tensor.file for name, tensor in stored.items()}
    for parameter, source in tied.items():
        first, second = (_stored_as(name, stored) for name in (parameter, source))
        if first is None or second is None or first == second:
            continue
        if not torch.equal(read_tensor(files, first), read_tensor(files, second)):
            raise UserError(
                f"{path}: tie_word_embeddings is true in config.json, and {first} is stored with other numbers than {second}: "
                "engines differ in which of them they use",
                remedy="set tie_word_embeddings to false in config.json to use the stored head, or leave the head out",
            )


def _stored_as(parameter: str, stored: Mapping[str, Stored]) -> str | None:
    """The stored name of a model's parameter: alike in its last two parts, and outside the layers."""
    own = parameter.split(".")[-2:]
    return next((name for name in stored if name.split(".")[-2:] == own and ".layers." not in name), None)
