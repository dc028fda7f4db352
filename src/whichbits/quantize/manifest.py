"""What a quantized checkpoint was made of."""

from __future__ import annotations

from importlib.metadata import version

from pydantic import BaseModel, ConfigDict

from whichbits.formats.format import Format
from whichbits.quantize.recipe import Recipe

FILE = "manifest.json"


class Manifest(BaseModel):
    """What made a checkpoint, and what it holds; `manifest.json` in its folder.

    `base` and `files` map names of files to their SHA-256; `weights` counts the quantized weights, and `bits_per_weight` is
    what they take on disk with their scales; `bytes` is the size of all weight files.
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


class ModuleError(BaseModel):
    """Relative Frobenius error of one module's weight, |rounded - weight| / |weight|."""

    model_config = ConfigDict(frozen=True)

    module: str
    error: float


def versions() -> dict[str, str]:
    """Versions of what computes and packs the weights."""
    return {name: version(name) for name in ("whichbits", "torch", "compressed-tensors")}
