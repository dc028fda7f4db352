"""No text file is opened in the locale's encoding, and no text of the user's is split where Python sees lines."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import whichbits

SOURCE = Path(whichbits.__file__).parent
OF_PROGRAMS = {
    "core/keeper.py", "engines/http/endpoint.py", "hardware/this_machine.py", "engines/vllm/log.py",
    "engines/http/prometheus.py", "engines/served_weights.py", "engines/http/sse.py",
    "models/embedded.py", "serving/counters.py",
}  # fmt: skip
"""Modules that split what programs of known output print; what users write is split at line feeds."""


def without_encoding(tree: ast.AST) -> Iterator[ast.Call]:
    """Calls that read or write text and name no encoding."""
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        named = {keyword.arg for keyword in call.keywords}
        function = call.func
        if "encoding" in named:
            continue
        if isinstance(function, ast.Name):
            if (function.id == "open" and not binary(call, 1)) or function.id == "FileHandler":
                yield call
        elif isinstance(function, ast.Attribute):
            owner = ast.unparse(function.value)
            match function.attr:
                case "read_text" if not call.args:
                    yield call
                case "write_text" if len(call.args) < 2:
                    yield call
                case "open" if owner not in ("os", "self") and not binary(call, 0):
                    yield call
                case "fdopen" if not binary(call, 1):
                    yield call
                case "NamedTemporaryFile" | "TemporaryFile" if not binary(call, 0):
                    yield call
                case "run" | "Popen" | "check_output" if {"text", "universal_newlines"} & named:
                    yield call


def binary(call: ast.Call, place: int) -> bool:
    """Whether a call opens bytes: by its mode at `place`, or by name."""
    modes = [keyword.value for keyword in call.keywords if keyword.arg == "mode"] + call.args[place : place + 1]
    return any(isinstance(mode, ast.Constant) and "b" in str(mode.value) for mode in modes)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("path.read_text()", True),
        ("path.read_text(encoding='utf-8')", False),
        ("path.write_text(text)", True),
        ("path.open()", True),
        ("path.open('w')", True),
        ("path.open('rb')", False),
        ("open(path)", True),
        ("open(path, 'wb')", False),
        ("tempfile.NamedTemporaryFile('w')", True),
        ("subprocess.run(command, text=True)", True),
        ("subprocess.run(command)", False),
    ],
)
def test_the_search_finds_them(line: str, found: bool) -> None:
    assert bool(list(without_encoding(ast.parse(line)))) == found


def test_text_files_are_utf8_and_lines_end_at_line_feeds() -> None:
    unnamed, split = [], set()
    for path in sorted(SOURCE.rglob("*.py")):
        name, tree = str(path.relative_to(SOURCE)), ast.parse(path.read_text(encoding="utf-8"))
        unnamed += [f"{name}:{call.lineno} {ast.unparse(call)}" for call in without_encoding(tree)]
        split |= {name for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr == "splitlines"}
    assert unnamed == []
    assert split <= OF_PROGRAMS
