"""`items.parquet`: what a step says of each item, a row an item."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

RowT = TypeVar("RowT")
"""A frozen dataclass, or a pydantic model: a column a field."""


def write_items(folder: Path, rows: Sequence[Any]) -> None:
    """Write `items.parquet`: one row an item, whole or not at all.

    Rows are of one class, as `RowT`; or, where measures and metrics that are chosen by name make the columns, values by column.
    """
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([_columns(row) for row in rows]), folder / "items.parquet")


def _columns(row: Any) -> dict[str, Any]:
    """Values by column."""
    if isinstance(row, dict):
        return row
    if isinstance(row, BaseModel):
        return row.model_dump()
    assert is_dataclass(row), f"{row!r} has no columns"
    return {field.name: getattr(row, field.name) for field in fields(row)}


def read_items(folder: Path, row: type[RowT]) -> list[RowT]:
    """Rows of a step's `items.parquet`; columns that `row` has not are left out."""
    import pyarrow.parquet

    assert is_dataclass(row), f"{row!r} has no columns"
    path = folder / "items.parquet"
    present = set(pyarrow.parquet.read_schema(path).names)
    columns = [field.name for field in fields(row) if field.name in present]
    found = pyarrow.parquet.read_table(path, columns=columns).to_pylist()
    return [row(**{name: _value(value) for name, value in each.items()}) for each in found]


def read_values(folder: Path, columns: Sequence[str]) -> list[dict[str, float | None]]:
    """Numbers of a step's `items.parquet` in columns that measures make, row by row."""
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(folder / "items.parquet", columns=list(columns))
    rows: list[dict[str, float | None]] = table.to_pylist()
    return rows


def _value(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
