"""What import-linter cannot say: what lies at the root, and that `core` stands on the standard library and pydantic."""

from __future__ import annotations

import ast
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import whichbits

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "whichbits"


def imported(file: Path) -> set[str]:
    """Top-level packages that a file imports, anywhere in it."""
    nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return {name.split(".")[0] for name in plain | {n.module or "" for n in nodes if isinstance(n, ast.ImportFrom)} if name}


def test_the_root_holds_no_module():
    assert {file.name for file in PACKAGE.glob("*.py")} == {"__init__.py", "__main__.py"}


def test_core_and_schema_stand_on_the_standard_library_and_pydantic():
    allowed = sys.stdlib_module_names | {"pydantic", "pydantic_core", "whichbits"}
    for package in ("core", "schema"):
        foreign = {file.name: imported(file) - allowed for file in (PACKAGE / package).rglob("*.py")}
        assert not {name: names for name, names in foreign.items() if names}


def test_the_version_is_in_one_place():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert "version" not in project
    assert project["dynamic"] == ["version"]
    assert metadata.version("whichbits") == whichbits.__version__
