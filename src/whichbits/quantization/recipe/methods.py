"""Rounders and transforms by name.

An installed package adds one by an entry point of the group `whichbits.rounders` or `whichbits.transforms`.
"""

from __future__ import annotations

from typing import ClassVar

from whichbits.core.entry_points import Registry


class Method:
    """A rounder or a transform, as a recipe sees it."""

    calibrated: ClassVar[bool] = True
    """Whether a rounder needs tokens run through the model. It counts for rounders only: all transforms need them."""


ROUNDER_GROUP = "whichbits.rounders"
TRANSFORM_GROUP = "whichbits.transforms"
_ROUNDING, _TRANSFORMS = "whichbits.quantization.rounding", "whichbits.quantization.transforms"

ROUNDERS: Registry[Method] = Registry(
    "rounding",
    "rounder",
    ROUNDER_GROUP,
    (f"{_ROUNDING}.rounder", "Rounder"),
    {"rtn": (f"{_ROUNDING}.nearest", "Nearest"), "gptq": (f"{_ROUNDING}.gptq", "Gptq")},
)

TRANSFORMS: Registry[Method] = Registry(
    "transforms",
    "transform",
    TRANSFORM_GROUP,
    (f"{_TRANSFORMS}.transform", "Transform"),
    {
        "smoothing": (f"{_TRANSFORMS}.smoothquant", "Smoothing"),
        "balancing": (f"{_TRANSFORMS}.balancing", "Balancing"),
        "awq": (f"{_TRANSFORMS}.awq", "Awq"),
    },
)
