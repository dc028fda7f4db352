"""The table of docs/architecture.md that says where things are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TABLE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8").partition("## Where is")[2].partition("\n## ")[0]
ROWS = [row.split(" | ") for row in TABLE.splitlines() if row.startswith("| ") and "`" in row and "src/" not in row]


def test_the_table_is_found() -> None:
    assert len(ROWS) >= 16


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0].strip("| "))
def test_files_and_names_are_there(row: list[str]) -> None:
    _, files, names = row
    paths = [ROOT / "src/whichbits" / name for name in re.findall(r"`([\w/.]+)`", f"{files} {names}") if "/" in name]
    assert all(path.exists() for path in paths), paths
    text = "".join(path.read_text(encoding="utf-8") for path in paths if path.is_file())
    for name in re.findall(r"`([\w.]+)`", names):
        if "/" not in name and paths:
            assert re.search(rf"(def|class) {name.rpartition('.')[2]}\b", text), name
