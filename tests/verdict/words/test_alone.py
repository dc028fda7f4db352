"""Prose of a verdict stands in its words alone, which need no more than the verdict: no arrays, and no study."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import whichbits.verdict

FOLDER = Path(whichbits.verdict.__file__).parent


def prose(source: str) -> list[str]:
    """Texts of three words or more that are no docstring, belong to no error, and are not said in a measurement's place."""
    tree = ast.parse(source)
    exempt: set[int] = set()
    for node in ast.walk(tree):
        of_error = isinstance(node, ast.Call) and getattr(node.func, "id", "").endswith("Error")
        bare = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        in_its_place = isinstance(node, ast.FunctionDef) and node.name == "no_numbers"
        if of_error or bare or in_its_place or isinstance(node, ast.Raise | ast.Assert):
            exempt |= {id(each) for each in ast.walk(node)}
    texts = [n for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str) and id(n) not in exempt]
    return [node.value for node in texts if len(node.value.split()) > 2]


@pytest.mark.parametrize("file", sorted(set(FOLDER.glob("*.py")) - {FOLDER / "pairing.py"}), ids=lambda file: file.stem)
def test_no_prose_outside_of_the_words(file):
    """`pairing.py` is left out: it puts together the texts of its errors."""
    assert prose(file.read_text(encoding="utf-8")) == []


def test_prose_would_be_seen():
    assert prose('"""A docstring of words."""\nreason = f"{name} keeps all of it"') == [" keeps all of it"]


def test_reading_a_verdict_needs_no_arrays():
    words = sorted(f"whichbits.verdict.words.{file.stem}" for file in (FOLDER / "words").glob("[a-z]*.py"))
    imports = ", ".join([*words, "whichbits.reporting.terminal"])
    code = f"import sys, {imports}; print({{'numpy', 'whichbits.studies'}} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
