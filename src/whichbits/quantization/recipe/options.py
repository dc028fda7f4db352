"""What is said on the command line, as fields of a recipe."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from whichbits.core.errors import UserError
from whichbits.formats.format import Format
from whichbits.quantization.recipe.effort import DEFAULT, recipe_for
from whichbits.quantization.recipe.presets import recipe_fields
from whichbits.quantization.recipe.recipe import Recipe, parse

TABLES = (".json", ".csv", ".tsv", ".parquet", ".arrow", ".gz", ".zst", ".zip")
"""Suffixes of files that the datasets library reads, and that taken as a text would be syntax and field names."""

BUDGET = re.compile(r"(\d+(\.\d+)?(e-?\d+)?)(bits|error)")


def fields_of(
    recipe: str | Path | Mapping[str, Any] | None,
    given: Mapping[str, Any],
    calibration: str | None = None,
    samples: int | None = None,
    seq_length: int | None = None,
) -> dict[str, Any]:
    """The fields of `recipe` (a file, a name, or fields), with what is `given` (not None) before them. Raises UserError."""
    fields = {} if recipe is None else recipe_fields(recipe)
    fields |= {name: value for name, value in given.items() if value is not None}
    sizes = {name: value for name, value in (("samples", samples), ("length", seq_length)) if value is not None}
    if calibration is not None or sizes:
        kept = dict(fields.get("calibration") or {})
        if calibration is not None:
            kept = {name: kept[name] for name in ("samples", "length") if name in kept} | source_of(calibration)
        fields["calibration"] = kept | sizes
    return fields


def recipe_of(fields: Mapping[str, Any], format: Format, effort: str | None, *, own_recipe: bool) -> Recipe:
    """The recipe for a format: these fields, and for the others what an effort has, or without one the recipe's defaults.

    The effort is `effort`, or else the field of that name, or else the default one unless there is an `own_recipe`. Raises
    UserError.
    """
    used = dict(fields)
    stated = used.pop("effort", None)
    chosen = effort or stated or (None if own_recipe else DEFAULT)
    return parse(used) if chosen is None else recipe_for(format, str(chosen), used)


def fitting(fields: Mapping[str, Any], format: Format) -> dict[str, Any]:
    """The fields without a group size where the format has none to choose."""
    return {name: value for name, value in fields.items() if name != "group_size" or format.group_sizes}


def budget_of(text: str) -> dict[str, float]:
    """A budget, `4.5bits` (for each weight) or `0.01error`, as arguments of `choose_formats`. Raises UserError."""
    match = BUDGET.fullmatch(text)
    if match is None or not float(match[1]):
        raise UserError(f"budget {text!r} is none", remedy="write bits for each weight, as 4.5bits, or an error, as 0.01error")
    return {"bits_per_weight" if match[4] == "bits" else "error": float(match[1])}


def source_of(text: str) -> dict[str, Any]:
    """The fields of a calibration that is named in one word, as on the command line. Raises UserError."""
    name, *options = text.split(",")
    if text in ("self", "random"):
        return {"source": text}
    if Path(text).is_file():
        if Path(text).suffix.lower() in TABLES:
            raise UserError(
                f"calibration file {text} is neither a text nor JSON lines (.jsonl)",
                remedy="put it into a folder of its own and give that: it is read as a data set with a column messages or text",
            )
        return {"source": "chat" if Path(text).suffix.lower() == ".jsonl" else "text", "file": text}
    if Path(name).suffix.lower() in (".txt", ".jsonl", ".md", *TABLES):
        raise UserError(f"calibration file {name} does not exist", remedy="give the path of a file that does")
    fields: dict[str, Any] = {"source": "dataset", "dataset": name}
    for option in options:
        key, _, value = option.partition("=")
        if key not in ("config", "split", "fields", "revision") or not value:
            raise UserError(
                f"calibration {text!r}: {option!r} is no option of a data set",
                remedy="write NAME,split=...,config=...,fields=A+B,revision=...",
            )
        fields[key] = tuple(value.split("+")) if key == "fields" else value
    return fields
