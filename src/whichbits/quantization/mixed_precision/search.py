"""Formats chosen for each part of a model under a budget, from the model and a few calibration samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from whichbits.core.errors import UserError
from whichbits.formats.catalogue import get
from whichbits.models.configuration import read_configuration
from whichbits.quantization.calibration.data import calibration_data
from whichbits.quantization.mixed_precision.knapsack import Option
from whichbits.quantization.mixed_precision.layer_sensitivity import measure, spend
from whichbits.quantization.model.devices import computing_devices
from whichbits.quantization.model.structure import layer_linears, tensor_shapes
from whichbits.quantization.recipe.recipe import LayerChoice, Recipe

SAMPLES = 8
"""Calibration samples that layer sensitivity is measured on, at most; it settles long before a Hessian does."""


@dataclass(frozen=True)
class Choice:
    """What a budget buys: the format of most modules, the `layers` of a recipe that has the others, and what was measured."""

    format: str
    layers: tuple[LayerChoice, ...]
    options: tuple[Option, ...]


def choose_formats(
    base: Path,
    formats: Sequence[str],
    recipe: Recipe,
    *,
    bits_per_weight: float | None = None,
    error: float | None = None,
    device: str | None = None,
    trust_remote_code: bool = False,
    base_files: Mapping[str, str] | None = None,
    on_token: Callable[[int, int], None] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Choice:
    """Spend a budget of bits for each weight on disk, scales included, or of error, on the linear layers of `base`.

    `formats` are the names to choose from (`bf16` for none); `recipe` gives calibration data, seed, group size and rotation.
    The budget is over all linear layers of the decoder; embeddings and lm_head are not counted. `on_progress(done, all)` counts
    layers, `on_token(done, all)` the tokens of calibration text that the model generates; `base_files` as `calibration_data`.
    Raises UserError where the budget cannot be met, no format fits a layer, or the model is not understood.
    """
    shapes = tensor_shapes(base)
    layers = layer_linears(read_configuration(base, trust_remote_code=trust_remote_code), shapes)
    weights = sum(shapes[name][0] * shapes[name][1] for layer in layers for name in layer)
    few = recipe.calibration.model_copy(update={"samples": min(SAMPLES, recipe.calibration.samples)})
    tokens = calibration_data(
        base,
        few,
        recipe.seed,
        on_token,
        device=computing_devices(device)[0],
        trust_remote_code=trust_remote_code,
        base_files=base_files,
    ).tokens
    options = measure(
        base,
        layers,
        [get(name) for name in formats],
        tokens,
        recipe,
        device=device,
        trust_remote_code=trust_remote_code,
        on_progress=on_progress,
    )
    bits = None if bits_per_weight is None else bits_per_weight * weights
    least = sum(min(option.bits for option in options if option.unit == unit) for unit in {option.unit for option in options})
    if bits is not None and bits < least:
        raise UserError(
            f"budget: {bits_per_weight:g} bits for each weight, and the smallest of the formats take {least / weights:.4f}",
            remedy="raise the budget, or add a smaller format",
        )
    format, choices = spend(layers, options, bits=bits, error=error)
    return Choice(format, choices, tuple(options))
