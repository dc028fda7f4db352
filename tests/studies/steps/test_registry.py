"""A kind's version must be raised when its source changes; `python` on this file writes the golden file anew."""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
from pathlib import Path

import pytest

import whichbits
from whichbits.studies.steps import registry

GOLDEN = Path(__file__).parents[2] / "golden" / "cells.json"
SOURCE = Path(whichbits.__file__).parent


def fingerprint(kind: str) -> str:
    """SHA-256 over the code (without comments and docstrings) and data of the rooms that a kind runs, and of its function."""
    digest = hashlib.sha256(_code(inspect.getsource(registry.FUNCTIONS[kind])))
    for room in registry.ROOMS[kind]:
        for path in sorted((SOURCE / room).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(str(path.relative_to(SOURCE)).encode())
                digest.update(_code(path.read_text()) if path.suffix == ".py" else path.read_bytes())
    return digest.hexdigest()


def _code(text: str) -> bytes:
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            node.body = [
                statement
                for statement in node.body
                if not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant))
            ]
    return ast.dump(tree).encode()


def current() -> dict[str, dict[str, object]]:
    return {kind: {"version": version, "source": fingerprint(kind)} for kind, version in registry.VERSIONS.items()}


@pytest.mark.parametrize("kind", sorted(registry.VERSIONS))
def test_a_changed_source_has_a_raised_version(kind: str):
    golden, now = json.loads(GOLDEN.read_text()), current()[kind]
    assert kind in golden, f"run python {Path(__file__).name} to record the new kind"
    if golden[kind]["source"] != now["source"]:
        assert now["version"] > golden[kind]["version"], (
            f"the source of `{kind}` changed: raise its version in cells.py if a result can change, "
            f"then run python tests/{Path(__file__).name}"
        )
        pytest.fail(f"record the new version of `{kind}`: python tests/{Path(__file__).name}")
    assert golden[kind]["version"] == now["version"]


def test_every_kind_has_a_function_and_rooms():
    assert set(registry.FUNCTIONS) == set(registry.VERSIONS) == set(registry.ROOMS)
    assert all((SOURCE / room).is_dir() for rooms in registry.ROOMS.values() for room in rooms)


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(current(), indent=1) + "\n")
