"""From what the user calls a model to a folder on this machine and the hashes that identify it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from whichbits.errors import UserError
from whichbits.formats.files import INDEX, companion_files, read_header, shard_files, shard_names, tensor_files
from whichbits.models.cache import cache_directory, file_sha256
from whichbits.models.embedded import EMBEDDED, embedded_checkpoint
from whichbits.models.hub import HUB_ID, outline, snapshot

POSITION_KEYS = ("max_position_embeddings", "n_positions", "max_sequence_length", "seq_length")


@dataclass(frozen=True)
class Model:
    """A model on this machine.

    `files` maps the relative name of every file that defines it to its SHA-256; `max_positions` is the longest sequence
    (tokens of prompt and output together); `notes` are what every report on it must say.
    """

    reference: str
    path: Path
    files: Mapping[str, str]
    dtype: Literal["bfloat16", "float16"]
    config: Mapping[str, Any]
    max_positions: int
    notes: tuple[str, ...] = ()


def resolve(
    reference: str,
    *,
    cache: Path | None = None,
    allow_download: bool = True,
    allow_custom_code: bool = False,
    weights: bool = True,
) -> Model:
    """Find the model that `reference` names: an embedded one, a local folder, or a hub id (`owner/name[@revision]`).

    `cache` is whichbits' cache directory (default: `cache_directory()`); the hub's own cache is where huggingface_hub keeps it,
    and its token comes from the environment (HF_TOKEN). Without `allow_download` a hub id must already be in that cache.
    Without `weights` those of a hub id stay on the hub, and are identified by the hashes that it states.
    Raises UserError where the model is missing, incomplete, in neither BF16 nor FP16, or comes with code of its own
    and `allow_custom_code` is not set.
    """
    cache = cache or cache_directory()
    notes: tuple[str, ...] = ()
    stored: dict[str, str] | None = None
    if reference in EMBEDDED:
        path = embedded_checkpoint(EMBEDDED[reference], cache)
        notes = EMBEDDED[reference].notes
    elif (folder := _folder(reference)) is not None:
        path = folder
    elif re.fullmatch(HUB_ID, reference) and not reference.startswith("."):
        if weights:
            path = snapshot(reference, allow_download=allow_download)
        else:
            path, stored = outline(reference)
    else:
        raise UserError(
            f"model {reference!r:.200} is neither a folder nor a hub id",
            remedy=f"give the path of a folder, a hub id (owner/name), or one of {', '.join(EMBEDDED)}",
        )
    return _describe(reference, path, stored, cache=cache, allow_custom_code=allow_custom_code, notes=notes)


def _folder(reference: str) -> Path | None:
    """The folder of that name, if there is one."""
    try:
        path = Path(reference).expanduser()
        return path.resolve() if reference and path.is_dir() else None
    except (OSError, RuntimeError):  # longer than a name may be, or the home of nobody
        return None


def _describe(
    reference: str,
    path: Path,
    stored: Mapping[str, str] | None,
    *,
    cache: Path,
    allow_custom_code: bool,
    notes: tuple[str, ...],
) -> Model:
    """The model in `path`, or, with the SHA-256 of weights `stored` elsewhere, all of it but those."""
    config = _read_config(path)
    if stored is None:
        tensor_files(path)
    custom_code = "auto_map" in config
    if custom_code and not allow_custom_code:
        raise UserError(
            f"{reference} comes with Python code of its own (auto_map in config.json), which would run on this machine",
            remedy="read that code, then allow it with allow_custom_code, or choose a model that transformers knows",
        )
    files = {path / "config.json", *companion_files(path), *path.glob(INDEX)}
    if stored is None:
        files |= set(shard_files(path))
    if custom_code:
        files |= set(path.glob("*.py"))
    hashes = {file.name: file_sha256(file, cache) for file in files}
    hashes |= {name: stored[name] for name in shard_names(path, stored)} if stored is not None else {}
    return Model(
        reference=reference,
        path=path,
        files=dict(sorted(hashes.items())),
        dtype=_dtype(reference, path, config),
        config=config,
        max_positions=_max_positions(reference, config),
        notes=notes,
    )


def _read_config(path: Path) -> dict[str, Any]:
    file = path / "config.json"
    try:
        config = json.loads(file.read_text())
    except FileNotFoundError as error:
        raise UserError(f"{path} holds no config.json", remedy="give a folder in the Hugging Face layout") from error
    except ValueError as error:
        raise UserError(f"{file} is not JSON: {error}", remedy="download the model again") from error
    if not isinstance(config, dict):
        raise UserError(f"{file} is not a JSON object", remedy="download the model again")
    return config


def _text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The language model's part of the configuration (multimodal models nest it)."""
    nested = config.get("text_config")
    return nested if isinstance(nested, dict) else config


def _dtype(reference: str, path: Path, config: Mapping[str, Any]) -> Literal["bfloat16", "float16"]:
    places = (config, _text_config(config))
    named = next((place[key] for place in places for key in ("dtype", "torch_dtype") if place.get(key)), None)
    dtype = str(named).removeprefix("torch.") if named else _stored_dtype(path)
    match dtype:
        case "bfloat16":
            return "bfloat16"
        case "float16":
            return "float16"
    raise UserError(
        f"{reference} has dtype {dtype}, and candidates are compared with a base in 16 bit",
        remedy="save it in bfloat16 first (transformers: from_pretrained(..., dtype='bfloat16').save_pretrained(...))",
    )


def _stored_dtype(path: Path) -> str:
    """The 16- or 32-bit dtype that most weight bytes are stored in."""
    names = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}
    counts = dict.fromkeys(names.values(), 0)
    for shard in shard_files(path):
        for entry in read_header(shard).values():
            if entry["dtype"] in names:
                begin, end = entry["data_offsets"]
                counts[names[entry["dtype"]]] += end - begin
    return max(counts, key=lambda name: counts[name])


def _max_positions(reference: str, config: Mapping[str, Any]) -> int:
    for place in (_text_config(config), config):
        for key in POSITION_KEYS:
            if isinstance(place.get(key), int):
                return int(place[key])
    raise UserError(
        f"config.json of {reference} does not say how long a sequence may be", remedy="add max_position_embeddings to it"
    )
