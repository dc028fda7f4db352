"""The folder of a finished checkpoint: what goes with the weights, its manifest, and its appearing in one piece."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import yaml

from whichbits.core.errors import UserError
from whichbits.formats.checkpoint.files import COMPANIONS, companion_files, language_prefix, read_header, shard_files
from whichbits.formats.format import Format, quantization_config
from whichbits.formats.mixed import targets
from whichbits.models.configuration import read_configuration, read_json
from whichbits.models.loading import where_it_loads
from whichbits.quantization.model.structure import ignored, tensor_shapes
from whichbits.quantization.output.manifest import FILE, Manifest, ModuleError, Used, gptq_vs_rtn, versions
from whichbits.quantization.recipe.recipe import Recipe

LICENSES = ("LICENSE*", "NOTICE*")
RECIPE = "recipe.yaml"


def complete(
    folder: Path,
    base: Path,
    format: Format,
    recipe: Recipe,
    linears: Sequence[str],
    base_files: Mapping[str, str],
    calibration: Used | None = None,
    errors: Sequence[ModuleError] = (),
    *,
    trust_remote_code: bool = False,
) -> Manifest:
    """Add to a `folder` that holds the weights what else a checkpoint needs, and return the manifest written there.

    `linears` are the weights that were quantized, `base_files` the SHA-256 of the base's files, `errors`
    what rounding did to each module.
    """
    for pattern in (*COMPANIONS, *LICENSES, "*.py"):
        for file in base.glob(pattern):
            shutil.copyfile(file, folder / file.name)
    config, configuration = read_json(base), read_configuration(base, trust_remote_code=trust_remote_code)
    shapes = tensor_shapes(base)
    if recipe.rotation:
        config["tie_word_embeddings"] = False
    means = _targets(format, linears, among_others=configuration.multimodal)
    config["quantization_config"] = quantization_config(format, ignored(configuration, shapes, linears), means)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    (folder / RECIPE).write_text(yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, width=120), encoding="utf-8")
    weights = sum(shapes[name][0] * shapes[name][1] for name in linears)
    manifest = Manifest(
        versions=versions(calibrated=calibration is not None) | recipe.packages,
        base=dict(base_files),
        format=format,
        recipe=recipe,
        files=hashes(sorted(folder.iterdir())),
        weights=weights,
        bits_per_weight=_stored_bits(folder, linears) / weights,
        bytes=sum(file.stat().st_size for file in shard_files(folder)),
        calibration=calibration,
        gptq_vs_rtn=gptq_vs_rtn(errors),
        loading=where_it_loads(folder, format.name, trust_remote_code=trust_remote_code),
    )
    (folder / FILE).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return manifest


def _targets(format: Format, linears: Sequence[str], *, among_others: bool) -> list[list[str]]:
    """Patterns for the modules that have the format itself, and for those of each of its parts."""
    if not format.parts:
        return [["Linear"]]
    others = {module for part in format.parts for module in part.modules}
    own = [module for name in linears if (module := name.removesuffix(".weight")) not in others]
    listed = (own, *(part.modules for part in format.parts))
    return [targets(modules, among_others=among_others) for modules in listed]


def base_hashes(base: Path) -> dict[str, str]:
    """SHA-256 of the base's configuration, weights, and what goes with them, by file name."""
    return hashes([base / "config.json", *shard_files(base), *companion_files(base)])


def hashes(files: Sequence[Path]) -> dict[str, str]:
    """SHA-256 of each file by its name."""
    digests = {}
    for path in files:
        with path.open("rb") as file:
            digests[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests


def _stored_bits(folder: Path, linears: Sequence[str]) -> int:
    """Bits on disk of everything stored for these weights, their biases left out."""
    modules = {name.removesuffix(".weight") for name in linears}
    tensors = {name: tensor for shard in shard_files(folder) for name, tensor in read_header(shard).items()}
    prefix = language_prefix(tensors)
    return sum(
        8 * tensor.bytes
        for name, tensor in tensors.items()
        if name.removeprefix(prefix).rpartition(".")[0] in modules and not name.endswith(".bias")
    )


def refuse_existing(out: Path) -> None:
    """Raises UserError where `out` exists."""
    if out.exists():
        raise UserError(f"{out} exists already", remedy="delete it or choose another folder")


def make_parent(out: Path) -> None:
    """Make the folder that `out` will lie in. Raises UserError where it cannot be made or written."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        reason = None if os.access(out.parent, os.W_OK) else "Permission denied"
    except OSError as error:
        reason = error.strerror
    if reason is not None:
        raise UserError(f"{out.parent} cannot be made or written ({reason})", remedy="name a folder that can, by --out")


@contextmanager
def folder_aside(out: Path, *, needed: int) -> Iterator[Path]:
    """A folder beside `out` that takes its name when the work is done, and is removed when it fails.

    Raises UserError where `out` exists, or where the disk has fewer than `needed` bytes free or fills up.
    """
    refuse_existing(out)
    make_parent(out)
    free = shutil.disk_usage(out.parent).free
    if free < needed:
        raise UserError(
            f"the disk of {out.parent} has {free / 1e6:,.0f} MB free and a checkpoint may take {needed / 1e6:,.0f} MB",
            remedy="free some space, or choose a folder on another disk",
        )
    aside = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    try:
        with disk_full_as_user_error(out.parent):
            yield aside
        aside.chmod(0o755)
        refuse_existing(out)  # another run may have been faster
        aside.rename(out)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def disk_full_as_user_error(folder: Path) -> Iterator[None]:
    """Raises UserError where the disk of `folder` fills up meanwhile."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError) as error:
        if os.strerror(errno.ENOSPC) not in str(error):
            raise
        raise UserError(f"the disk of {folder} is full", remedy="free some space, or choose another disk") from error
