"""`items.parquet`: what a step says of each item, a row an item."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def write_items(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write `items.parquet`: one row an item, whole or not at all."""
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([dict(row) for row in rows]), folder / "items.parquet")


def read_items(folder: Path) -> list[dict[str, Any]]:
    """Rows of a step's `items.parquet`."""
    import pyarrow.parquet

    rows: list[dict[str, Any]] = pyarrow.parquet.read_table(folder / "items.parquet").to_pylist()
    return rows
