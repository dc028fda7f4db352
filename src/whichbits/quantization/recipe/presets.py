"""Recipes as files: the user's own, and those of the papers and model cards, by name."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from whichbits.core.errors import UserError


def named_recipes() -> dict[str, str]:
    """Text (YAML) of each recipe that whichbits ships, by name."""
    folder = resources.files("whichbits.quantization.recipe") / "presets"
    files = (entry for entry in folder.iterdir() if entry.name.endswith(".yaml"))
    return dict(sorted((entry.name.removesuffix(".yaml"), entry.read_text(encoding="utf-8")) for entry in files))


def recipe_fields(recipe: str | Path | Mapping[str, Any], within: tuple[str, ...] = ()) -> dict[str, Any]:
    """The fields of a recipe that is given as a YAML file, as the name of one that whichbits ships, or as fields.

    Fields may begin from another recipe, `like: NAME-or-FILE`, and then say what differs. `within` are the recipes that are
    being read. Raises UserError.
    """
    fields = dict(recipe) if isinstance(recipe, Mapping) else _read(recipe)
    like = fields.pop("like", None)
    if like is None:
        return fields
    if not isinstance(like, str) or like in within:
        raise UserError(f"recipe.like: {like!r} is no other recipe", remedy=f"choose one of {', '.join(named_recipes())}")
    return {**recipe_fields(like, (*within, like)), **fields}


def _read(reference: str | Path) -> dict[str, Any]:
    path = Path(reference)
    if path.suffix not in {".yaml", ".yml"} and not path.is_file():
        return _fields(_shipped(str(reference)), f"recipe {reference}")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"recipe {path} cannot be read: {error}", remedy="give a readable YAML file, or a name") from error
    return _fields(text, f"recipe {path}")


def _shipped(name: str) -> str:
    known = named_recipes()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise UserError(f"recipe {name!r} is neither a file nor a name", remedy=f"{hint}names: {', '.join(known)}")
    return known[name]


def _fields(text: str, what: str) -> dict[str, Any]:
    try:
        fields = yaml.safe_load(text)
    except yaml.YAMLError as error:
        cause = " ".join(str(error).split())
        raise UserError(f"{what} is not YAML: {cause}", remedy="correct the syntax there") from error
    if not isinstance(fields, dict):
        raise UserError(f"{what} holds no fields", remedy="write one field a line, such as rounding: gptq")
    return fields
