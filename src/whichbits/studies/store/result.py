"""Reading of what a store holds: `result.json` of a finished step, `error.json` of a failed one."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from whichbits.core.errors import UserError
from whichbits.schema.labels import Labels
from whichbits.schema.provenance import Provenance
from whichbits.schema.summary import Summary
from whichbits.studies.steps.registry import summary_of

Model = TypeVar("Model", bound=BaseModel)
Read = TypeVar("Read")


def results_folder(folder: Path) -> Path:
    """Where a store keeps finished steps: `steps`, or `cells` in a store of schema 1."""
    former = folder / "cells"
    return former if former.is_dir() else folder / "steps"


def result_files(folder: Path) -> Iterator[Path]:
    """`result.json` of every finished step of a store, in KIND/KEY or KIND/KEY/ITEMS."""
    results = results_folder(folder)
    for place, folders, files in os.walk(results):  # unlike glob, it leaves out what another process removes meanwhile
        depth = len(Path(place).relative_to(results).parts)
        if depth >= 2 and "result.json" in files:
            yield Path(place, "result.json")
        if depth == 3:
            folders.clear()


def those_there(paths: Iterable[Path], read: Callable[[Path], Read]) -> Iterator[Read]:
    """What is read of each file, but for those that another process removes meanwhile, as shards once they are merged."""
    for path in paths:
        try:
            found = read(path)
        except UserError:
            if path.is_file():
                raise
        else:
            yield found


@dataclass(frozen=True)
class StoredResult:
    """A finished step's `result.json`."""

    path: Path
    kind: str
    labels: Labels
    provenance: Provenance
    stated: Any
    """Its summary as it stands there."""

    def summary(self, kind: str) -> Summary:
        """What the step found. Raises UserError where that is not of this kind."""
        try:
            return summary_of(kind, self.stated)
        except KeyError as error:
            raise UserError(
                f"store: {self.path} is of a kind of step, {kind}, that this version does not know",
                remedy="use the version that wrote the store, install the package that brings the kind, or delete its folder",
            ) from error
        except ValidationError as error:
            raise _invalid(self.path, "summary", error) from error


def read_result(path: Path) -> StoredResult:
    """A finished step's `result.json`. Raises UserError where it is damaged."""
    found = read_fields(path, ("kind", "labels", "summary", "provenance"))
    labels = _read(Labels, path, "labels", found["labels"])
    provenance = _read(Provenance, path, "provenance", found["provenance"])
    return StoredResult(path, str(found["kind"]), labels, provenance, found["summary"])


def _read(model: type[Model], path: Path, field: str, value: Any) -> Model:
    """A field of a result by its class. Raises UserError where it has not got the class's fields."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise _invalid(path, field, error) from error


def _invalid(path: Path, field: str, error: ValidationError) -> UserError:
    first = error.errors()[0]
    where = ".".join(str(part) for part in (field, *first["loc"]))
    return _damaged(path, f"{where} = {first['input']!r} is not valid ({first['msg']})")


def _damaged(path: Path, problem: str) -> UserError:
    return UserError(
        f"store: {path} is damaged: {problem}",
        remedy=f"delete the folder {path.parent} and run the study again; only this step is computed anew",
    )


def read_model(path: Path, names: Sequence[str], model: type[Model]) -> Model:
    """What stands under these names, one within the other, by its class. Raises UserError where it is damaged."""
    found: Any = read_fields(path, names[:1])
    for name in names:
        if not isinstance(found, dict) or name not in found:
            raise _damaged(path, f"it has no {'.'.join(names)}")
        found = found[name]
    return _read(model, path, ".".join(names), found)


def read_fields(path: Path, fields: Sequence[str]) -> dict[str, Any]:
    """A JSON object with these fields. Raises UserError where it is damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(path, str(error)) from error
    if not isinstance(found, dict):
        raise _damaged(path, "it is no JSON object")
    if absent := [name for name in fields if name not in found]:
        raise _damaged(path, f"it has no {absent[0]}")
    return found
