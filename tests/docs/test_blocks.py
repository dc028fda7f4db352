"""What README and docs show is right: specifications are valid, commands are understood, Python runs as far as it can here."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer
import typer.main
import yaml
from typer.testing import CliRunner

from whichbits.cli.app import app
from whichbits.studies.specification.schema import Specification, load

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
FENCED = re.compile(r"^```(\w+)\n(.*?)^```", re.M | re.S)
COMMAND = re.compile(r"^    (whichbits [^\n]*)", re.M)
NOT_RUN = ("whichbits.study(", "studies/demo", "http://", "collect(records")
"""What needs a study, a server or results: of such a block the imports are run, and the rest is compiled."""
QUICK = ("formats", "hardware", "predict", "published")


def blocks(language: str) -> list[object]:
    """Fenced blocks of a language, named by page and place."""
    return [
        pytest.param(text, id=f"{page.relative_to(ROOT)}:{place}")
        for page in PAGES
        for place, (name, text) in enumerate(FENCED.findall(page.read_text(encoding="utf-8")))
        if name == language
    ]


def commands() -> list[object]:
    """Lines of whichbits' command line that stand alone in a block."""
    return [
        pytest.param(line.split("  #")[0].strip(), id=f"{page.relative_to(ROOT)}:{line[:60]}")
        for page in PAGES
        for line in COMMAND.findall(page.read_text(encoding="utf-8"))
        if "|" not in line and "[" not in line.replace("'whichbits[", "")
    ]


@pytest.mark.parametrize("text", [block for block in blocks("yaml") if "version: 1" in block.values[0]])  # type: ignore[attr-defined]
def test_a_specification_is_valid(text: str, tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(text)
    (tmp_path / "triage.jsonl").write_text('{"question": "q", "choices": ["a", "b"], "answer": 0}\n')
    specification, _ = load(file)
    assert specification.name


@pytest.mark.parametrize("text", [block for block in blocks("yaml") if "version: 1" not in block.values[0]])  # type: ignore[attr-defined]
def test_a_part_of_a_specification_is_valid(text: str, tmp_path: Path) -> None:
    """What shows some fields, completed by those that are always needed."""
    part = yaml.safe_load(text)
    if not set(part) <= set(Specification.model_fields):
        pytest.skip("not of a specification")
    needed = {"version": 1, "name": "part", "model": "org/model", "candidates": ["w8a8-int"], "tasks": ["generated"]}
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump({**needed, **part}))
    (tmp_path / "triage.jsonl").write_text('{"question": "q", "choices": ["a", "b"], "answer": 0}\n')
    assert load(file)[0].name


@pytest.mark.parametrize("line", commands())
def test_a_command_is_understood(line: str) -> None:
    """Parsed by the command line itself: the command is there, and so are its arguments and options. Quick ones are run."""
    words = [word for word in shlex.split(line)[1:] if word != "..."]
    group = typer.main.get_command(app)
    with typer.Context(group, info_name="whichbits") as context:
        name, command, rest = group.resolve_command(context, words)  # type: ignore[attr-defined]
        command.make_context(name, rest, parent=context)
    if words[0] in QUICK and not {"MODEL", "M", "in.csv", "org/model", "studies/mine"} & set(words):
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, result.output


@pytest.mark.parametrize("text", blocks("python"))
def test_python_runs(text: str) -> None:
    if any(mark in text for mark in NOT_RUN):
        compile(text, "block", "exec")
        text = "\n".join(line for line in text.splitlines() if re.match(r"(from|import) ", line))
    exec(compile(text, "block", "exec"), {})
