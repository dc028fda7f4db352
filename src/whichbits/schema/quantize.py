"""What `quantize` steps take and return."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

from pydantic import BaseModel

from whichbits.schema.inputs import Inputs, Local
from whichbits.schema.summary import Summary

FormatT = TypeVar("FormatT", bound=BaseModel)
"""A format, as `formats` declares it."""
RecipeT = TypeVar("RecipeT", bound=BaseModel)
"""A recipe, as `quantization` declares it."""


class QuantizeInputs(Inputs, Generic[FormatT, RecipeT]):
    """The base, and what is made of it."""

    if_given: ClassVar[frozenset[str]] = frozenset({"packages"})

    base: Mapping[str, str]
    """SHA-256 of its files by name."""
    format: FormatT
    """Fitted to the base."""
    recipe: RecipeT
    packages: Mapping[str, str] | None = None
    """Versions of the packages that bring the recipe's methods; the recipe itself has the methods' names alone."""


class QuantizeLocal(Local):
    """Where the base is."""

    base: Path


class QuantizeSummary(Summary, kind="quantize"):
    """The checkpoint that a step made."""

    bytes: int
    bits_per_weight: float | None = None
    """With scales and zero points, over the linear layers of the decoder."""
    weights: int | None = None
    """Number of weights in these layers."""
    files: Mapping[str, str] = {}
    """SHA-256 by name."""
