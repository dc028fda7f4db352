"""What a quantized checkpoint was made of."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer, model_validator

from whichbits.formats.format import Format
from whichbits.quantization.recipe.recipe import Recipe

FILE = "manifest.json"


class Used(BaseModel):
    """The calibration tokens that were used: SHA-256 of them, their number, and what looked wrong with them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fingerprint: str
    tokens: int
    warnings: tuple[str, ...]


class GptqVsRtn(BaseModel):
    """The rounding's error of the outputs over that of rounding to nearest on the same grid, on the calibration tokens.

    `ratio` is that of the sums over all modules; `worse` has the ratio of each module where it is above 1.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    ratio: float
    worse: dict[str, float]


FORMER = {"asymmetric": "input_error_correction", "residual": "residual_error_correction", "sensitivity": "fisher_samples"}
"""Names of a recipe's fields in manifests of earlier versions, which are read."""


class Manifest(BaseModel):
    """What made a checkpoint, and what it holds; `manifest.json` in its folder.

    `base` and `files` map names of files to their SHA-256; `weights` counts the quantized weights, and `bits_per_weight` is
    what they take on disk with their scales; `bytes` is the size of all weight files; `calibration` is there where the recipe
    is calibrated, `gptq_vs_rtn` where its rounder is; `loading` says where the checkpoint does not load.
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
    gptq_vs_rtn: GptqVsRtn | None = None
    loading: tuple[str, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _earlier_names(cls, data: Any) -> Any:
        """A manifest of an earlier version, under today's names."""
        if not isinstance(data, dict):
            return data
        data = {"gptq_vs_rtn" if name == "beside_nearest" else name: value for name, value in data.items()}
        if isinstance(data.get("recipe"), dict):
            data["recipe"] = {FORMER.get(name, name): value for name, value in data["recipe"].items()}
        return data

    @model_serializer(mode="wrap")
    def _write_what_there_is(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in handler(self).items() if value not in (None, ())}


class ModuleError(BaseModel):
    """What rounding did to one module.

    `error` is the relative Frobenius error of its weight, |rounded - weight| / |weight|. Of
    calibrated rounders alone, `output_error` is the sum of squared errors of its output over the calibration tokens, weighted
    as the recipe weighs them, and `rtn_output_error` the one that rounding to nearest on the same grid would have made.
    """

    model_config = ConfigDict(frozen=True)

    module: str
    error: float
    output_error: float | None = None
    rtn_output_error: float | None = None


def gptq_vs_rtn(errors: Sequence[ModuleError]) -> GptqVsRtn | None:
    """What a calibrated rounder was worth on the modules that it rounded; None where there is none."""
    pairs = {each.module: (each.output_error, each.rtn_output_error) for each in errors}
    known = {module: (own, other) for module, (own, other) in pairs.items() if own is not None and other is not None}
    if not known:
        return None
    ours, theirs = (sum(values) for values in zip(*known.values(), strict=True))
    worse = {module: own / other for module, (own, other) in known.items() if own > other > 0}
    return GptqVsRtn(ratio=ours / theirs if theirs else 1.0, worse=worse)


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
    package = Path(__file__).parents[2]
    for path in sorted(path for part in ("formats", "quantization") for path in (package / part).rglob("*")):
        if path.suffix in (".py", ".yaml"):
            digest.update(f"{path.relative_to(package)}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\0".encode())
    return digest.hexdigest()
