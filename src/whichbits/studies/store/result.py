"""Reading of what a store holds: `result.json` of a finished step, `error.json` of a failed one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from whichbits.core.errors import UserError
from whichbits.schema.step import Json
from whichbits.schema.summary import Summary
from whichbits.studies.steps.registry import summary_of


def results_folder(folder: Path) -> Path:
    """Where a store keeps finished steps: `steps`, or `cells` in a store of schema 1."""
    former = folder / "cells"
    return former if former.is_dir() else folder / "steps"


def result_files(folder: Path) -> Iterator[Path]:
    """`result.json` of every finished step of a store."""
    results = results_folder(folder)
    yield from results.glob("*/*/result.json")
    yield from results.glob("*/*/*/result.json")


def read_result(path: Path) -> dict[str, Any]:
    """A finished step's `result.json`. Raises UserError where it is damaged."""
    return read_fields(path, ("kind", "labels", "summary", "provenance"))


def read_summary(path: Path, kind: str, found: Json) -> Summary:
    """The summary of a finished step. Raises UserError where it is not one of its kind."""
    try:
        return summary_of(kind, found)
    except KeyError as error:
        raise UserError(
            f"store: {path} is of a kind of step, {kind}, that this version does not know",
            remedy="use the version that wrote the store, install the package that brings the kind, or delete its folder",
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise _damaged(path, f"summary.{where} = {first['input']!r} is not valid ({first['msg']})") from error


def _damaged(path: Path, problem: str | None) -> UserError:
    return UserError(
        f"store: {path} is damaged: {problem}",
        remedy=f"delete the folder {path.parent} and run the study again; only this step is computed anew",
    )


def read_fields(path: Path, fields: Sequence[str]) -> dict[str, Any]:
    """A JSON object with these fields. Raises UserError where it is damaged."""
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        absent = [name for name in fields if name not in found]
        problem = f"it has no {absent[0]}" if absent else None
    except (OSError, ValueError, TypeError, RecursionError) as error:
        problem = str(error)
    if problem is not None:
        raise _damaged(path, problem)
    return found
