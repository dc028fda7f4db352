"""The files of a checkpoint folder: its safetensors shards, whether they are whole, and what goes with them."""

from __future__ import annotations

import json
import re
import struct
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whichbits.core.errors import UserError
from whichbits.formats.checkpoint.names import LANGUAGE

if TYPE_CHECKING:
    import torch

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
COMPANIONS = (
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "*.tiktoken",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "added_tokens.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "chat_template.json",
    "preprocessor_config.json",
    "processor_config.json",
)
"""Files beside weights and configuration that change what a model answers."""


def companion_files(folder: Path) -> list[Path]:
    """Tokenizer, chat template and generation config in `folder`, in the order of their names."""
    return sorted(file for pattern in COMPANIONS for file in folder.glob(pattern))


def language_prefix(names: Iterable[str]) -> str:
    """LANGUAGE where tensors of these names are of a language model among others, else nothing."""
    return LANGUAGE if any(name.startswith(LANGUAGE) for name in names) else ""


BUFFER = re.compile(
    r"(.*\.)?((maybe_)?rotary(_emb)?\.(inv_freq|original_inv_freq|cos_cached|sin_cached)|rope\.freqs"
    r"|attn\.embed_positions|(attn|attention)\.((masked_)?bias|causal_mask))"
)
"""Buffers that older files hold beside the weights, and that every loader computes anew: rotary tables, causal masks."""

BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "I16": 16,
    "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32, "I64": 64, "U64": 64, "F64": 64, "C64": 64,
}  # fmt: skip
"""Bits of one number of each of safetensors' dtypes."""


@dataclass(frozen=True)
class Stored:
    """A tensor in a safetensors file: its dtype by safetensors' name, its shape, its bytes and its file."""

    dtype: str
    shape: tuple[int, ...]
    bytes: int
    file: Path


def read_header(shard: Path) -> dict[str, Stored]:
    """Tensors of a safetensors file by name, by its header.

    Raises UserError where the file cannot be read, is shorter or longer than its header says, or the header contradicts itself.
    Source: the safetensors format (8 bytes of length, a JSON header, the data).
    """
    remedy = f"download {shard.name} again, or copy it again from where it came"
    try:
        size = shard.stat().st_size
        with shard.open("rb") as file:
            prefix = file.read(8)
            length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else size
            text = file.read(length) if 8 + length <= size else None
    except OSError as error:  # a link that leads nowhere, a folder, a file of somebody else
        raise UserError(f"{shard} cannot be read ({error.strerror})", remedy=remedy) from error
    if text is None:
        raise UserError(f"{shard} is truncated: its header does not fit in its {size:,} bytes", remedy=remedy)
    try:
        header: dict[str, Any] = json.loads(text, object_pairs_hook=_each_once)
        header.pop("__metadata__", None)
        spans = {name: _span(entry) for name, entry in header.items()}
        found = {
            name: Stored(entry["dtype"], tuple(entry["shape"]), spans[name][1] - spans[name][0], shard)
            for name, entry in header.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(
            f"{shard} is not a safetensors file: its header is not JSON of tensors: {error}", remedy=remedy
        ) from error
    expected = 8 + length + max((end for _, end in spans.values()), default=0)
    if size != expected:
        kind = "truncated" if size < expected else "too long"
        raise UserError(f"{shard} is {kind}: {size:,} bytes where its header says {expected:,}", remedy=remedy)
    position = 0
    for name, (begin, end) in sorted(spans.items(), key=lambda span: span[1]):
        if begin != position:
            raise UserError(f"{shard}: the tensor {name} does not begin where the one before it ends", remedy=remedy)
        position = end
    return found


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, each of whose keys is there once. Raises ValueError."""
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        raise ValueError(f"it names {next(name for name in names if names.count(name) > 1)!r} twice")
    return dict(pairs)


def _span(entry: Mapping[str, Any]) -> tuple[int, int]:
    """First and last byte of a tensor. Raises ValueError where they are not what its dtype and shape take."""
    begin, end = entry["data_offsets"]
    bits = BITS.get(entry["dtype"])
    if bits is not None and prod(entry["shape"]) * bits != 8 * (end - begin):
        raise ValueError(f"{entry['dtype']} of shape {entry['shape']} does not take {end - begin} bytes")
    return int(begin), int(end)


def shard_files(folder: Path) -> list[Path]:
    """The safetensors files that make up the checkpoint in `folder`, in the order of their names; see `shard_names`."""
    return [folder / name for name in shard_names(folder, {file.name for file in folder.glob("*.safetensors")})]


def shard_names(folder: Path, present: Collection[str]) -> list[str]:
    """Which of the safetensors files `present` make up a checkpoint: those that the index in `folder` names, in order.

    Without an index `model.safetensors`, else all. Raises UserError where there is none, where one that the index names is
    missing, or where it names others than a `model.safetensors` that is there too.
    """
    index = folder / INDEX
    if index.exists():
        names = sorted(set(_read_index(index).values()))
        missing = [name for name in names if name not in present]
        if missing:
            raise UserError(f"{folder} lacks the shard {missing[0]} that {INDEX} names", remedy="download the model again")
        if SINGLE in present and SINGLE not in names:
            raise UserError(
                f"{folder} holds two sets of weights, {SINGLE} and the shards that {INDEX} names, and engines differ in which "
                "they load",
                remedy=f"move {SINGLE}, or {INDEX} with its shards, to another folder",
            )
        return names
    if SINGLE in present:
        return [SINGLE]
    if not present:
        raise UserError(
            f"{folder} holds no *.safetensors file",
            remedy="save the model with transformers' save_pretrained, which writes them",
        )
    return sorted(present)


def stored_tensors(folder: Path) -> dict[str, Stored]:
    """All tensors of the checkpoint in `folder` by name, in the order of the names.

    Reads headers only. Raises UserError where a file is damaged, a tensor is in two files, or one that the index names in none.
    """
    found: dict[str, Stored] = {}
    for shard in shard_files(folder):
        for name, tensor in read_header(shard).items():
            if name in found:
                raise UserError(
                    f"{folder}: the tensor {name} is in {found[name].file.name} and in {shard.name}",
                    remedy="download the model again, or save it again with transformers' save_pretrained",
                )
            found[name] = tensor
    index = folder / INDEX
    if index.exists():
        lost = sorted(set(_read_index(index)) - set(found))
        if lost:
            raise UserError(
                f"{folder}: no shard holds the tensor {lost[0]} that {INDEX} names", remedy="download the model again"
            )
    return dict(sorted(found.items()))


def index_names(folder: Path) -> list[str] | None:
    """Names of the tensors that the index in `folder` lists, None without an index. Raises UserError where it is not valid."""
    index = folder / INDEX
    return sorted(_read_index(index)) if index.exists() else None


def tensor_files(folder: Path) -> dict[str, Path]:
    """The file of each tensor of the checkpoint in `folder`, buffers left out, by name; as `stored_tensors`."""
    return {name: stored.file for name, stored in stored_tensors(folder).items() if not BUFFER.fullmatch(name)}


def read_tensor(files: Mapping[str, Path], name: str) -> torch.Tensor:
    """The tensor `name` from the file that `files` (see `tensor_files`) names, mapped into memory."""
    from safetensors import safe_open

    with safe_open(files[name], framework="pt") as file:
        tensor: torch.Tensor = file.get_tensor(name)
    return tensor


def read_integers(tensors: Mapping[str, Stored]) -> Iterator[tuple[str, list[int]]]:
    """Name and numbers of each of these tensors of integers; each file is opened once."""
    from safetensors import safe_open

    names: dict[Path, list[str]] = defaultdict(list)
    for name, tensor in tensors.items():
        names[tensor.file].append(name)
    for path, held in names.items():
        with safe_open(path, framework="pt") as file:
            for name in held:
                yield name, file.get_tensor(name).flatten().tolist()


def _read_index(index: Path) -> dict[str, str]:
    try:
        weight_map: dict[str, str] = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        if not weight_map or not all(isinstance(name, str) and "/" not in name for name in weight_map.values()):
            raise ValueError("weight_map does not name files")
    except (ValueError, KeyError, TypeError, AttributeError, OSError, RecursionError) as error:
        raise UserError(f"{index} is not an index of safetensors shards", remedy="download the model again") from error
    return weight_map
