"""Prose of a verdict stands in its words alone: no other module holds any but in docstrings and errors."""

import ast
from pathlib import Path

import pytest

import whichbits.verdict

FOLDER = Path(whichbits.verdict.__file__).parent


def prose(source: str) -> list[str]:
    """Texts of three words or more that are no docstring and belong to no error."""
    tree = ast.parse(source)
    exempt: set[int] = set()
    for node in ast.walk(tree):
        of_error = isinstance(node, ast.Call) and getattr(node.func, "id", "").endswith("Error")
        bare = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if of_error or bare or isinstance(node, ast.Raise | ast.Assert):
            exempt |= {id(each) for each in ast.walk(node)}
    texts = [n for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str) and id(n) not in exempt]
    return [node.value for node in texts if len(node.value.split()) > 2]


@pytest.mark.parametrize("file", sorted(set(FOLDER.glob("*.py")) - {FOLDER / "pairing.py"}), ids=lambda file: file.stem)
def test_no_prose_outside_of_the_words(file):
    """`pairing.py` is left out: it puts together the texts of its errors."""
    assert prose(file.read_text(encoding="utf-8")) == []


def test_prose_would_be_seen():
    assert prose('"""A docstring of words."""\nreason = f"{name} keeps all of it"') == [" keeps all of it"]
