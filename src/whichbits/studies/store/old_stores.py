"""Reads results of older stores, in which the number of items was part of the key of `evaluate`."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from whichbits.schema.inputs import Inputs
from whichbits.schema.step import Items, Step
from whichbits.studies.store.result import read_fields


class _FormerTask(BaseModel):
    """A task as such a store states it."""

    model_config = ConfigDict(frozen=True, extra="allow")

    items: int | None = Field(default=None, exclude=True)
    """How many a generator made."""


class _FormerInputs(Inputs):
    """Inputs as such a store states them; written they are as they are stated today."""

    model_config = ConfigDict(frozen=True, extra="allow")

    limit: int | None = Field(default=None, exclude=True)
    task: _FormerTask


def former_results(folder: Path) -> dict[tuple[str, Items], Path]:
    """Directories of such results, by the key that the step has now and the number of items."""
    found: dict[tuple[str, Items], Path] = {}
    for path in sorted((folder / "cells" / "evaluate").glob("*/result.json")):
        result = read_fields(path, ("version", "inputs", "reads"))
        if "limit" in result["inputs"]:
            inputs = _FormerInputs.model_validate(result["inputs"])
            now = Step("evaluate", result["version"], inputs, result["reads"])
            found[now.key, inputs.limit or inputs.task.items or "all"] = path.parent
    return found
