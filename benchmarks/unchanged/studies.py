"""Scores item by item, and the numbers of verdicts: of two emulated studies, and of a store that is there."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from checkpoints import EMBEDDED, embedded_folder, random_model
from command import digest, whichbits
from names import COLUMNS, FIELDS, IDENTITY, KIND, VARYING
from place import Place

TINY = """\
version: 1
name: tiny
model: {model}
candidates:
  - {{format: w8a8-int, recipe: {{scales: minmax}}, run: emulated}}
  - {{format: w4a16-int, recipe: {{scales: mse}}, run: emulated}}
  - {{format: w8a8-fp, recipe: {{scales: minmax}}, run: emulated}}
tasks:
  - {{name: recall, limit: 40}}
  - {{name: choice, limit: 20}}
similarity: {{windows: 3, window_tokens: 32, limit: 4, max_tokens: 8}}
base_repeats: 1
max_length: 128
"""
"""A study without a server."""
DEMONSTRATION = """\
version: 1
name: demo
model: smollm2-135m-instruct
candidates:
  - {format: w8a8-int, recipe: {scales: minmax}, run: emulated}
  - {format: w4a16-int, recipe: {scales: mse}, run: emulated}
  - {format: w8a8-fp, recipe: {scales: minmax}, run: emulated}
  - {format: w4a8-int, recipe: {scales: mse}, run: emulated}
tasks:
  - {name: recall, limit: 12}
  - {name: needle, limit: 8}
  - {name: copy, limit: 12}
  - {name: order, limit: 12}
  - {name: choice, limit: 8}
similarity: {limit: 4, max_tokens: 8, windows: 2, window_tokens: 64}
base_repeats: 1
margin: 0.1
max_length: 1024
"""
"""The demonstration with all candidates emulated, on few items."""


def tiny_study(place: Place) -> Iterator[tuple[str, Any]]:
    """Scores and verdict of a study of a random Llama."""
    if not (base := place.work / "Llama").exists():
        from_embedded = _embedded(place)
        random_model("Llama", from_embedded, base)
    yield from _study(place, "tiny", TINY.format(model=base))


def demonstration(place: Place) -> Iterator[tuple[str, Any]]:
    """Scores and verdict of the demonstration, emulated, on few items."""
    yield from _study(place, "demo", DEMONSTRATION)


def _embedded(place: Place) -> Path:
    """The embedded model's folder, converted where the cache does not have it."""
    try:
        return embedded_folder()
    except SystemExit:
        whichbits("quantize", EMBEDDED, "--format", "w8a8-int", "--recipe", "nearest", "--out", place.work / "first")
        return embedded_folder()


def _study(place: Place, name: str, text: str) -> Iterator[tuple[str, Any]]:
    folder = place.work / f"study-{name}"
    folder.mkdir()
    specification, store = folder / "spec.yaml", folder / "store"
    renamed = text
    for old, new in FIELDS:
        renamed = renamed.replace(old, new)
    specification.write_text(renamed)
    if renamed != text and whichbits("study", specification, "--dry-run", "--store", store, folder=folder).returncode:
        specification.write_text(text)
    done = whichbits("study", specification, "--store", store, "--json", folder=folder)
    yield "exit", done.returncode
    if done.returncode:
        print(done.stderr[-2000:], file=sys.stderr)
    yield from scores(store)
    yield from verdict(store, folder)


def scores(store: Path) -> Iterator[tuple[str, Any]]:
    """Of each result with items: numbers as they are, other columns as a SHA-256."""
    import pyarrow.parquet

    found: dict[str, Any] = {}
    for path in sorted(store.glob("**/items.parquet")):
        result = json.loads((path.parent / "result.json").read_text())
        labels = result.get("labels", result)
        kind = next(str(result[key]) for key in KIND if key in result)
        name = "/".join(str(labels[key]) for key in [*IDENTITY, "repeat"] if isinstance(labels.get(key), str | int))
        columns = pyarrow.parquet.read_table(path).to_pydict()
        found[f"items/{kind}/{name}"] = {COLUMNS.get(key, key): _column(values) for key, values in columns.items()}
    yield from sorted(found.items())


def _column(values: list[Any]) -> Any:
    numbers = all(value is None or isinstance(value, int | float) for value in values)
    return values if numbers else digest([str(value) for value in values])


def verdict(store: Path, folder: Path) -> Iterator[tuple[str, Any]]:
    """Numbers of the verdict that `recommend` gives for a store."""
    done = whichbits("recommend", store, "--json", folder=folder)
    if done.returncode:
        yield "verdict", {"exit": done.returncode}
        return
    yield from numbers("verdict", json.loads(done.stdout))


def numbers(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Path and number of each number within; a row of a list goes by the words that tell it apart."""
    if isinstance(value, int | float):
        yield path, value
    elif isinstance(value, dict):
        for key, each in value.items():
            if key not in VARYING:
                yield from numbers(f"{path}/{key}", each)
    elif isinstance(value, list):
        for name, each in zip(_names(value), value, strict=True):
            yield from numbers(f"{path}/{name}", each)


def _names(rows: Iterable[Any]) -> list[str]:
    """A name for each row: its identifying words, with a number behind where another row has the same."""
    names: list[str] = []
    for i, row in enumerate(rows):
        words = [str(row[key]) for key in IDENTITY if isinstance(row.get(key), str)] if isinstance(row, dict) else []
        name = ",".join(words) or str(i)
        same = sum(other.partition("#")[0] == name for other in names)
        names.append(f"{name}#{same + 1}" if same else name)
    return names


def kept_store(place: Place) -> Iterator[tuple[str, Any]]:
    """Scores and verdict of a store that another run made, without its checkpoints and logs."""
    if place.store is not None:
        copy = place.work / "kept"
        shutil.copytree(
            place.store, copy, ignore=shutil.ignore_patterns("*.safetensors", "tokenizer.json", "servers", "partial")
        )
        yield from scores(copy)
        yield from verdict(copy, place.work)
