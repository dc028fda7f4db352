"""Results on standard output: tables for people, JSON for programs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import is_dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

if TYPE_CHECKING:
    from rich.console import Console

Row = Mapping[str, Any]
UNBROKEN = 100_000
"""Columns of what is no terminal."""


def console() -> Console:
    """Standard output; in a pipe or a file a row or a sentence is one line, unless COLUMNS says how wide it is."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else UNBROKEN)


def print_json(value: Any) -> None:
    """Write a result as JSON, in full precision."""
    # Other letters are escaped, so that no terminal's encoding can change them.
    sys.stdout.write(json.dumps(plain(value), indent=2, default=str) + "\n")


def plain(value: Any) -> Any:
    """A result as lists, mappings, numbers and text."""
    if isinstance(value, BaseModel):
        return json.loads(value.model_dump_json())
    if is_dataclass(value) and not isinstance(value, type):
        return {name: plain(getattr(value, name)) for name in value.__dataclass_fields__}
    if isinstance(value, Mapping):
        return {name: plain(field) for name, field in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(entry) for entry in value]
    return value


def print_rows(rows: Sequence[Row]) -> None:
    """Print rows with equal keys as a table; numbers have four significant digits."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for place, column in enumerate(rows[0] if rows else ()):
        header = str(column).replace("_", " ")
        table.add_column(header, overflow="fold", no_wrap=place == 0, min_width=max(map(len, header.split()), default=0))
    for row in rows:
        table.add_row(*(Text(_shown(value)) for value in row.values()))
    console().print(table)


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return str(float(f"{value:.4g}")) if isinstance(value, float) else str(value)


def fields(result: Any) -> Row:
    """A row of a table with the fields of a dataclass; one that is a row already as it is."""
    if isinstance(result, Mapping):
        return result
    return {name: getattr(result, name) for name in result.__dataclass_fields__}


def print_results(results: Sequence[Any], as_json: bool, row: Callable[[Any], Row] = fields) -> None:
    """Print results of one kind as JSON, or as a table with a `row` of each."""
    if as_json:
        print_json(results)
        return
    rows = [row(result) for result in results]
    dropped = {name for name in (rows[0] if rows else ()) if name == "weights" and all(row[name] is None for row in rows)}
    print_rows([{name: value for name, value in row.items() if name not in dropped} for row in rows])
