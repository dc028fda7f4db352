"""From what the user calls a model to a folder on this machine, what it is, and the hashes that identify it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from whichbits.core.errors import UserError
from whichbits.core.home import cache_directory
from whichbits.formats.catalogue import get
from whichbits.formats.checkpoint.codes import signs_of_codes
from whichbits.formats.checkpoint.files import (
    BUFFER,
    INDEX,
    SINGLE,
    Stored,
    companion_files,
    index_names,
    language_prefix,
    shard_names,
    stored_tensors,
)
from whichbits.formats.checkpoint.recognize import OTHER, Recognized, recognize_stated, refuse_older_key, side_quantization
from whichbits.formats.format import Format
from whichbits.models.adapters import refuse_adapter
from whichbits.models.cache import file_facts
from whichbits.models.configuration import Configuration, read_configuration, read_json
from whichbits.models.embedded import EMBEDDED, embedded_checkpoint
from whichbits.models.hub import HUB_ID, Outline, outline, snapshot
from whichbits.models.patterns import refuse_patterns
from whichbits.models.quantized import (
    refuse_codes,
    refuse_lacking_cache_scales,
    refuse_scales,
    refuse_stated_shapes,
    refuse_undeclared,
    weights_by_name,
)
from whichbits.models.tensor_check import compare, own_shapes, refuse_differences, refuse_names
from whichbits.models.tokenization import check_tokenizer
from whichbits.models.weights import compute_dtype, refuse_damage, refuse_two_heads, refuse_zero_norms, served_bytes

Dtype = Literal["bfloat16", "float16"]


@dataclass(frozen=True)
class Model:
    """A model on this machine, whose files have been looked at.

    `files` maps the relative name of every file that defines it to its SHA-256; `dtype` is what it computes in; `format` the
    number format of its weights (the base's own 16 bit, or that of a quantized checkpoint); `max_positions` the longest
    sequence (tokens of prompt and output together); `bytes` what its weights take when they are served; `shapes` those of its
    16-bit weights, by the names they have where there is no other model beside; `notes` are what every report on it must say.
    """

    reference: str
    path: Path
    files: Mapping[str, str]
    dtype: Dtype
    format: Format
    configuration: Configuration
    max_positions: int
    bytes: int
    shapes: Mapping[str, tuple[int, ...]]
    notes: tuple[str, ...] = ()


def resolve(
    reference: str,
    *,
    cache: Path | None = None,
    allow_download: bool = True,
    trust_remote_code: bool = False,
    weights: bool = True,
) -> Model:
    """Find the model that `reference` names: an embedded one, a local folder, or a hub id (`owner/name[@revision]`).

    `cache` is whichbits' cache directory (default: `cache_directory()`); the hub's own cache is where huggingface_hub keeps it,
    and its token comes from the environment (HF_TOKEN). Without `allow_download` a hub id must already be in that cache.
    Without `weights` those of a hub id stay on the hub, and are identified by the hashes that it states.
    All that can be wrong with a model is said here, before anything runs it. Raises UserError where the model is missing or
    incomplete; its configuration is none that transformers knows; its tensors are not those of its configuration, in name,
    shape or dtype, or not finite; it is quantized in a way that is not recognized; its tokenizer cannot be loaded; or it comes
    with code of its own and `trust_remote_code` is not set.
    """
    cache = cache or cache_directory()
    notes: tuple[str, ...] = ()
    remote: Outline | None = None
    if reference in EMBEDDED:
        path = embedded_checkpoint(EMBEDDED[reference], cache)
        notes = EMBEDDED[reference].notes
    elif (folder := _folder(reference)) is not None:
        path = folder
    elif re.fullmatch(HUB_ID, reference) and not reference.startswith("."):
        if weights:
            path = snapshot(reference, allow_download=allow_download)
        else:
            path, remote = outline(reference, allow_download=allow_download)
    else:
        raise UserError(
            f"model {reference!r:.200} is neither a folder nor a hub id",
            remedy=f"give the path of a folder, a hub id (owner/name), or one of {', '.join(EMBEDDED)}",
        )
    model = _describe(reference, path, remote, cache=cache, trust_remote_code=trust_remote_code)
    return replace(model, notes=(*notes, *model.notes))


def _folder(reference: str) -> Path | None:
    """The folder of that name, if there is one."""
    try:
        path = Path(reference).expanduser()
        return path.resolve() if reference and path.is_dir() else None
    except (OSError, RuntimeError):  # longer than a name may be, or the home of nobody
        return None


def _describe(reference: str, path: Path, remote: Outline | None, *, cache: Path, trust_remote_code: bool) -> Model:
    """The model in `path`, or, with its weights `remote`, all of it but those."""
    refuse_adapter(path, whole=any((path / name).exists() or (remote and name in remote.sha256) for name in (SINGLE, INDEX)))
    _refuse_remote_code(reference, path, trust_remote_code)
    configuration = read_configuration(path, trust_remote_code=trust_remote_code)
    recognized = _recognized(path, configuration)
    stored = stored_tensors(path) if remote is None else {}
    if remote is None and not ((path / SINGLE).exists() or (path / INDEX).exists()):
        raise UserError(
            f"{path} holds neither {SINGLE} nor {INDEX}, which engines look for",
            remedy="save the model again with transformers' save_pretrained",
        )
    shapes = _compared(path, configuration, recognized, stored, remote)
    dtype = compute_dtype(path, configuration, stored)
    files = {path / "config.json", *companion_files(path), *path.glob(INDEX)}
    if configuration.has_remote_code:
        files |= set(path.glob("*.py"))
    facts = {file.name: file_facts(file, cache) for file in files | {tensor.file for tensor in stored.values()}}
    for name, found in facts.items():
        refuse_damage(path / name, found.damage, dtype)
    refuse_zero_norms(path, {name for found in facts.values() for name in found.damage.zero_norms}, stored)
    hashes = {name: found.sha256 for name, found in facts.items()}
    size = served_bytes(stored, quantized=recognized.layout is not None)
    if remote is not None:
        names = shard_names(path, remote.sha256)
        hashes |= {name: remote.sha256[name] for name in names}
        size = sum(remote.bytes[name] for name in names)
    check_tokenizer(path, configuration.vocabulary, trust_remote_code=trust_remote_code)
    return Model(
        reference=reference,
        path=path,
        files=dict(sorted(hashes.items())),
        dtype=dtype,
        format=recognized.format if recognized.layout else get({"bfloat16": "bf16", "float16": "fp16"}[dtype]),
        configuration=configuration,
        max_positions=_max_positions(reference, configuration),
        bytes=size,
        shapes=shapes,
    )


def _refuse_remote_code(reference: str, path: Path, allowed: bool) -> None:
    if "auto_map" in read_json(path) and not allowed:
        raise UserError(
            f"{reference} comes with Python code of its own (auto_map in config.json), which would run on this machine",
            remedy="read that code, then allow it with trust_remote_code, or choose a model that transformers knows",
        )


def _recognized(path: Path, configuration: Configuration) -> Recognized:
    """The format that config.json states, or that of 16 bit where nothing states another."""
    beside = side_quantization(path)
    if beside and not configuration.quantization:
        raise UserError(
            f"{path} is quantized and says so in {beside} alone; engines that read config.json would take its codes for "
            "16-bit weights",
            remedy=f"give the 16-bit model, export it with a tool that writes quantization_config into config.json, or {OTHER}",
        )
    refuse_older_key(read_json(path))
    return recognize_stated(configuration.quantization)


def _compared(
    path: Path, configuration: Configuration, recognized: Recognized, stored: Mapping[str, Stored], remote: Outline | None
) -> dict[str, tuple[int, ...]]:
    """Shapes of the model's 16-bit weights by name. Raises UserError where what is stored is another model's."""
    own = {name: tensor for name, tensor in stored.items() if not BUFFER.fullmatch(name)}
    shapes: Mapping[str, tuple[int, ...] | None]
    if remote is not None:
        listed = index_names(path)
        if listed is None or recognized.layout is not None:  # what it stands for is in its weights' headers alone
            parameters = compare(configuration, {}, path).parameters
            refuse_patterns(path, configuration.quantization, parameters)
            return own_shapes(parameters, configuration)
        shapes = {name: None for name in listed if not BUFFER.fullmatch(name)}
    elif recognized.layout is not None:
        shapes = weights_by_name(path, own, recognized.layout)
    else:
        codes = signs_of_codes(own)
        if codes:
            raise UserError(
                f"{path}: {codes[0]} ({own[codes[0]].dtype}) is a quantized checkpoint's, and config.json says nothing of "
                "quantization",
                remedy=f"give the 16-bit model, or {OTHER}",
            )
        shapes = {name: tensor.shape for name, tensor in own.items()}
    refuse_names(configuration, shapes, path)
    found = compare(configuration, shapes, path, padding=recognized.layout is not None)
    refuse_differences(found, configuration, path)
    refuse_patterns(path, configuration.quantization, {*stored, *found.parameters})
    if recognized.layout is not None:
        refuse_undeclared(path, configuration, own)
        refuse_codes(path, own, recognized.layout)
        refuse_scales(path, own, shapes, recognized.layout)
        refuse_stated_shapes(path, own, shapes, own_shapes(found.parameters, configuration))
        if recognized.format.kv_cache is not None and not recognized.format.kv_cache.dynamic:
            refuse_lacking_cache_scales(path, own, configuration.layers)
    if remote is not None:
        return own_shapes(found.parameters, configuration)
    refuse_two_heads(path, configuration, found.tied, own)
    prefix = language_prefix(shapes)
    return {name.removeprefix(prefix): shape for name, shape in shapes.items() if shape is not None}


def _max_positions(reference: str, configuration: Configuration) -> int:
    if configuration.max_positions is not None:
        return configuration.max_positions
    raise UserError(
        f"config.json of {reference} does not say how long a sequence may be", remedy="add max_position_embeddings to it"
    )
