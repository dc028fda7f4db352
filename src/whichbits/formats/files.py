"""The files of a checkpoint folder: its safetensors shards, whether they are whole, and what goes with them."""

from __future__ import annotations

import json
import struct
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whichbits.errors import UserError

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


LANGUAGE = "language_model."
"""What the names of a language model's tensors begin with in a checkpoint that holds other models beside it."""


def language_prefix(names: Iterable[str]) -> str:
    """LANGUAGE where tensors of these names are of a language model among others, else nothing."""
    return LANGUAGE if any(name.startswith(LANGUAGE) for name in names) else ""


def read_header(shard: Path) -> dict[str, Any]:
    """Header of a safetensors file: {tensor name: {"dtype", "shape", "data_offsets"}}.

    Raises UserError where the file is shorter or longer than its header says.
    Source: the safetensors format (8 bytes of length, a JSON header, the data).
    """
    size = shard.stat().st_size
    remedy = f"download {shard.name} again, or copy it again from where it came"
    with shard.open("rb") as file:
        prefix = file.read(8)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else size
        if 8 + length > size:
            raise UserError(f"{shard} is truncated: its header does not fit in its {size:,} bytes", remedy=remedy)
        try:
            header: dict[str, Any] = json.loads(file.read(length))
        except ValueError as error:
            raise UserError(f"{shard} is not a safetensors file: its header is not JSON", remedy=remedy) from error
    header.pop("__metadata__", None)
    expected = 8 + length + max((entry["data_offsets"][1] for entry in header.values()), default=0)
    if size != expected:
        kind = "truncated" if size < expected else "too long"
        raise UserError(f"{shard} is {kind}: {size:,} bytes where its header says {expected:,}", remedy=remedy)
    return header


def shard_files(folder: Path) -> list[Path]:
    """The safetensors files that make up the checkpoint in `folder`, in the order of their names; see `shard_names`."""
    return [folder / name for name in shard_names(folder, {file.name for file in folder.glob("*.safetensors")})]


def shard_names(folder: Path, present: Collection[str]) -> list[str]:
    """Which of the safetensors files `present` make up a checkpoint: those that the index in `folder` names, in order.

    Without an index `model.safetensors`, else all. Raises UserError where there is none, or where one that the index names is
    missing.
    """
    index = folder / INDEX
    if index.exists():
        names = sorted(set(_read_index(index).values()))
        missing = [name for name in names if name not in present]
        if missing:
            raise UserError(f"{folder} lacks the shard {missing[0]} that {INDEX} names", remedy="download the model again")
        return names
    if SINGLE in present:
        return [SINGLE]
    if not present:
        raise UserError(
            f"{folder} holds no *.safetensors file",
            remedy="save the model with transformers' save_pretrained, which writes them",
        )
    return sorted(present)


def tensor_files(folder: Path) -> dict[str, Path]:
    """Which file holds each tensor of the checkpoint in `folder`: {tensor name: file}, in the order of the names.

    Reads headers only. Raises UserError where a file is truncated or a tensor that the index names is in no file.
    """
    where = {name: shard for shard in shard_files(folder) for name in read_header(shard)}
    index = folder / INDEX
    if index.exists():
        lost = sorted(set(_read_index(index)) - set(where))
        if lost:
            raise UserError(
                f"{folder}: no shard holds the tensor {lost[0]} that {INDEX} names", remedy="download the model again"
            )
    return dict(sorted(where.items()))


def read_tensor(files: Mapping[str, Path], name: str) -> torch.Tensor:
    """The tensor `name` from the file that `files` (see `tensor_files`) names, mapped into memory."""
    from safetensors import safe_open

    with safe_open(files[name], framework="pt") as file:
        tensor: torch.Tensor = file.get_tensor(name)
    return tensor


def _read_index(index: Path) -> dict[str, str]:
    try:
        weight_map: dict[str, str] = json.loads(index.read_text())["weight_map"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{index} is not an index of safetensors shards", remedy="download the model again") from error
    return weight_map
