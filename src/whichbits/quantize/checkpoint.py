"""The streaming pass: a base checkpoint in, a quantized one out, a layer at a time."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from whichbits.errors import UserError
from whichbits.formats.files import COMPANIONS, companion_files, read_header, shard_files, tensor_files
from whichbits.formats.format import Format, fit, quantization_config
from whichbits.formats.writer import ShardWriter
from whichbits.quantize.layer import quantize_layer
from whichbits.quantize.manifest import FILE, Manifest, ModuleError, versions
from whichbits.quantize.recipe import Recipe
from whichbits.quantize.structure import ignored, layer_linears, tensor_shapes

if TYPE_CHECKING:
    import torch

LICENSES = ("LICENSE*", "NOTICE*")
SHARD_BYTES = 2**30

Progress = Callable[[int, int], None]


def quantize_checkpoint(
    base: Path,
    format: Format,
    recipe: Recipe,
    out: Path,
    *,
    base_files: Mapping[str, str] | None = None,
    on_progress: Progress | None = None,
    shard_bytes: int = SHARD_BYTES,
) -> tuple[Manifest, tuple[ModuleError, ...]]:
    """Write the checkpoint folder `out`: `base` in `format`, made by `recipe`.

    Every linear layer of the decoder layers is quantized; embeddings, norms and lm_head stay as they are; tokenizer, chat
    template and generation config are carried along. At most a layer and a shard are in memory. `out` appears once it is
    complete. `base_files` are the SHA-256 of the base's files where they are known already; `on_progress(done, all)`
    counts modules. Returns the manifest and the error of each module.
    Raises UserError where the format cannot be written or does not fit, the base cannot be quantized, `out` exists, or the
    disk is too full.
    """
    if format.weights is None or format.refused:
        reason = format.refused or "it is the base itself"
        raise UserError(f"format {format.name} cannot be written: {reason}", remedy="choose another format")
    config = json.loads((base / "config.json").read_text())
    shapes = tensor_shapes(base)
    layers = layer_linears(config, shapes)
    linears = [name for layer in layers for name in layer]
    weights = sum(shapes[name][0] * shapes[name][1] for name in linears)
    fitted = fit(format, ((shapes[name][0], shapes[name][1]) for name in linears), group_size=recipe.group_size)
    with _folder_aside(out, needed=sum(file.stat().st_size for file in shard_files(base))) as aside:
        writer = ShardWriter(aside, shard_bytes=shard_bytes)
        errors = _write_weights(base, layers, fitted, recipe, writer, on_progress)
        _carry(base, aside)
        config["quantization_config"] = quantization_config(fitted, ignored(config, shapes, linears))
        (aside / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        manifest = Manifest(
            versions=versions(),
            base=dict(base_files or _hashes([base / "config.json", *shard_files(base), *companion_files(base)])),
            format=fitted,
            recipe=recipe,
            files=_hashes(sorted(aside.iterdir())),
            weights=weights,
            bits_per_weight=_stored_bits(aside, linears) / weights,
            bytes=sum(file.stat().st_size for file in shard_files(aside)),
        )
        (aside / FILE).write_text(manifest.model_dump_json(indent=2) + "\n")
    return manifest, errors


def _write_weights(
    base: Path, layers: list[list[str]], format: Format, recipe: Recipe, writer: ShardWriter, on_progress: Progress | None
) -> tuple[ModuleError, ...]:
    """Copy what is not quantized, then quantize layer by layer."""
    files = tensor_files(base)
    linears = {name for layer in layers for name in layer}
    for name in (name for name in files if name not in linears):
        writer.add(name, _read(files, name))
    errors: list[ModuleError] = []
    for layer in layers:
        for quantized in quantize_layer({name: _read(files, name) for name in layer}, format, recipe):
            for name, tensor in quantized.tensors.items():
                writer.add(name, tensor)
            errors.append(ModuleError(module=quantized.module, error=quantized.error))
            if on_progress:
                on_progress(len(errors), len(linears))
    writer.finish()
    return tuple(errors)


def _read(files: Mapping[str, Path], name: str) -> torch.Tensor:
    from safetensors import safe_open

    with safe_open(files[name], framework="pt") as file:
        tensor: torch.Tensor = file.get_tensor(name)
    return tensor


def _carry(base: Path, out: Path) -> None:
    for pattern in (*COMPANIONS, *LICENSES, "*.py"):
        for file in base.glob(pattern):
            shutil.copyfile(file, out / file.name)


def _stored_bits(folder: Path, linears: list[str]) -> int:
    """Bits on disk of everything stored for these weights, their biases left out."""
    modules = {name.removesuffix(".weight") for name in linears}
    entries = {name: entry for shard in shard_files(folder) for name, entry in read_header(shard).items()}
    stored = [
        entry["data_offsets"]
        for name, entry in entries.items()
        if name.rpartition(".")[0] in modules and not name.endswith(".bias")
    ]
    return sum(8 * (end - begin) for begin, end in stored)


def _hashes(files: list[Path]) -> dict[str, str]:
    hashes = {}
    for path in files:
        with path.open("rb") as file:
            hashes[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return hashes


@contextmanager
def _folder_aside(out: Path, *, needed: int) -> Iterator[Path]:
    """A folder beside `out` that takes its name when the work is done, and is removed when it fails."""
    from safetensors import SafetensorError

    if out.exists():
        raise UserError(f"{out} exists already", remedy="delete it or choose another folder")
    out.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(out.parent).free
    if free < needed:
        raise UserError(
            f"the disk of {out.parent} has {free / 1e9:.1f} GB free and a checkpoint may take {needed / 1e9:.1f} GB",
            remedy="free some space, or choose a folder on another disk",
        )
    aside = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    try:
        yield aside
        aside.chmod(0o755)
        aside.rename(out)
    except (OSError, SafetensorError) as error:
        if os.strerror(errno.ENOSPC) not in str(error):
            raise
        raise UserError(f"the disk of {out.parent} is full", remedy="free some space, or choose another disk") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
