"""What a quantized checkpoint was made of."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer

import whichbits
from whichbits.formats.format import Format
from whichbits.quantize.recipe import Recipe

FILE = "manifest.json"


class Used(BaseModel):
    """The calibration tokens that were used: SHA-256 of them, their number, and what looked wrong with them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fingerprint: str
    tokens: int
    warnings: tuple[str, ...]


class Manifest(BaseModel):
    """What made a checkpoint, and what it holds; `manifest.json` in its folder.

    `base` and `files` map names of files to their SHA-256; `weights` counts the quantized weights, and `bits_per_weight` is
    what they take on disk with their scales; `bytes` is the size of all weight files; `calibration` is there where the recipe
    is calibrated.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    versions: dict[str, str]
    base: dict[str, str]
    format: Format
    recipe: Recipe
    files: dict[str, str]
    weights: int
    bits_per_weight: float
    bytes: int
    calibration: Used | None = None

    @model_serializer(mode="wrap")
    def _write_what_there_is(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in handler(self).items() if name != "calibration" or value is not None}


class ModuleError(BaseModel):
    """Relative Frobenius error of one module's weight, |rounded - weight| / |weight|."""

    model_config = ConfigDict(frozen=True)

    module: str
    error: float


def versions(*, calibrated: bool = False) -> dict[str, str]:
    """Versions of what computes and packs the weights, and for a `calibrated` recipe of what runs the model.

    `whichbits-code` is the SHA-256 of the sources that do.
    """
    names = ("whichbits", "torch", "compressed-tensors", *(("transformers", "numba") if calibrated else ()))
    return {name: version(name) for name in names} | {"whichbits-code": code_sha256()}


@cache
def code_sha256() -> str:
    """SHA-256 over the names and contents of the sources that make checkpoints, as they are at the first call."""
    digest = hashlib.sha256()
    package = Path(whichbits.__file__).parent
    for path in sorted(path for room in ("formats", "quantize") for path in (package / room).rglob("*")):
        if path.suffix in (".py", ".yaml"):
            digest.update(f"{path.relative_to(package)}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\0".encode())
    return digest.hexdigest()
