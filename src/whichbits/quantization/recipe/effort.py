"""Recipes by effort: the fields of a good recipe for a format, where none are given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

from whichbits.core.errors import UserError
from whichbits.formats.format import Format
from whichbits.quantization.recipe.recipe import Recipe, parse

Effort = Literal["fast", "balanced", "best"]

DEFAULT: Effort = "balanced"

SHRINKAGE = {"fast": 0.1, "balanced": 0.3, "best": 0.3}
"""Many of a Hessian's correlations are the calibration tokens' own, most so where the loss lets few tokens decide."""

DRAWS = {"fast": 0, "balanced": 1, "best": 4}
"""Next tokens drawn at each position, from which the loss's curvature is learnt: fewer are noisier."""

CORRECTION = {"input_error_correction": 0.35, "residual_error_correction": 0.7}
"""Strength of the corrections for the error of earlier layers, which are learnt from few tokens."""

BALANCING_FOUR_BITS = 0.25
"""Weights of 4 bits have little to give to the activations."""


def recipe_for(format: Format, effort: str, fields: Mapping[str, Any]) -> Recipe:
    """The recipe of `effort` for a format, in which explicit `fields` go before.

    Raises UserError where the effort or a field is not known. `benchmarks/quantizers/ablation.py` shows what each is worth.
    """
    if effort not in get_args(Effort):
        raise UserError(f"effort {effort!r} is not known", remedy=f"choose one of {', '.join(get_args(Effort))}")
    rounding = fields.get("rounding", _rounding(format, effort))
    chosen: dict[str, Any] = {"rounding": rounding}
    if rounding == "gptq":
        chosen |= {
            "scales": "activation",
            "shrinkage": SHRINKAGE[effort],
            "propagate_error": fields.get("propagate_error", _corrects(format, effort, fields)),
            "fisher_samples": _draws(format, effort, fields),
        }
        if effort == "best" and chosen["propagate_error"]:
            chosen |= CORRECTION
        if format.weights and format.activations and format.activations.type == "int" and fields.get("smoothing") is None:
            chosen["balancing"] = 1.0 if format.weights.num_bits == 8 else BALANCING_FOUR_BITS
    return parse({**chosen, **fields})


def _corrects(format: Format, effort: str, fields: Mapping[str, Any]) -> bool:
    """Where a strength is given, and at `best`; weights of 8 bits leave no error that is worth it."""
    four_bits = format.weights is not None and format.weights.num_bits < 8
    given = any(fields.get(name) for name in CORRECTION)
    return given or (effort == "best" and four_bits)


def _draws(format: Format, effort: str, fields: Mapping[str, Any]) -> int:
    """None at `balanced` for rotated weights of 8 bits, which are good without."""
    eight_bits = format.weights is not None and format.weights.num_bits == 8
    if effort == "balanced" and eight_bits and fields.get("rotation"):
        return 0
    return DRAWS[effort]


def _rounding(format: Format, effort: str) -> str:
    """Weights in FP8 lose so little that rounding to nearest serves where time is short."""
    weights = format.weights
    eight_bit_float = weights is not None and weights.type == "float" and weights.num_bits == 8
    return "rtn" if effort == "fast" and eight_bit_float else "gptq"
