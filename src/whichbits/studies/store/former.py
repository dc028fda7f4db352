"""Results of stores that are older: from when the number of items was part of the key of `evaluate`."""

from __future__ import annotations

from pathlib import Path

from whichbits.schema.step import Items, Step
from whichbits.studies.store.result import read_fields


def former_results(folder: Path) -> dict[tuple[str, Items], Path]:
    """Directories of such results, by the key that the step has now and the number of items."""
    found: dict[tuple[str, Items], Path] = {}
    for path in sorted((folder / "cells" / "evaluate").glob("*/result.json")):
        result = read_fields(path, ("version", "inputs", "reads"))
        inputs = dict(result["inputs"])
        if "limit" in inputs:
            limit, task = inputs.pop("limit"), dict(inputs["task"])
            made = task.pop("items", None)
            now = Step("evaluate", result["version"], {**inputs, "task": task}, result["reads"])
            found[now.key, limit or made or "all"] = path.parent
    return found
