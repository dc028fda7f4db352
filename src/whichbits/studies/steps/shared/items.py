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
    columns = {field.name: getattr(row, field.name) for field in fields(row)}
    return columns if (measured := _measured(row)) is None else columns | columns.pop(measured)


def read_items(folder: Path, row: type[RowT]) -> list[RowT]:
    """Rows of a step's `items.parquet`; columns that `row` has not are left out."""
    import pyarrow.parquet

    assert is_dataclass(row), f"{row!r} has no columns"
    path = folder / "items.parquet"
    present = set(pyarrow.parquet.read_schema(path).names)
    named = [field.name for field in fields(row) if field.name in present]
    measured = _measured(row)
    columns = named if measured is None else list(present)
    found = pyarrow.parquet.read_table(path, columns=columns).to_pylist()
    made: list[RowT] = []
    for each in found:
        values = {name: _value(each.pop(name)) for name in named}
        made.append(row(**(values if measured is None else {**values, measured: each})))
    return made


def _measured(row: Any) -> str | None:
    """The field of a row whose entries are columns of their own, as a class says that has one."""
    name: str | None = getattr(row, "measured", None)
    return name


def _value(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
