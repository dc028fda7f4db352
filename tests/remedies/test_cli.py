"""Remedies of the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import whichbits
from whichbits.cli.app import app
from whichbits.studies.store import objects


def refused(*arguments: str) -> Result:
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == 2, done.output
    return done


@pytest.mark.parametrize(
    ("verb", "extra"),
    [
        (["evaluate", "model", "--task", "recall"], "measure"),
        (["quantize", "model", "--format", "w8a8-int", "--out", "out"], "quantize"),
    ],
)
def test_a_package_that_is_not_installed(follow_line: Any, verb: list[str], extra: str, monkeypatch: pytest.MonkeyPatch):
    """Nothing is installed here; what the named extra would bring is read from the package's own description."""

    def lacking(*_: Any, **__: Any) -> None:
        raise ModuleNotFoundError("No module named 'transformers'", name="transformers")

    monkeypatch.setattr(whichbits, verb[0], lacking)
    said = " ".join(refused(*verb).stderr.split())
    assert f"transformers is not installed, which `whichbits {verb[0]}` needs" in said
    assert f"pip install 'whichbits[{extra}]', or 'whichbits[study]'" in said
    follow_line("is not installed, which", said=said, remedy=lambda: provided(extra))


def provided(extra: str) -> None:
    """The extra, with those that it names, brings what is lacking."""
    import tomllib

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    assert "study" in extras
    needed, pending = "", [extra]
    while pending:
        needed += " ".join(found := extras[pending.pop()])
        pending += [name for name in extras if any(f"whichbits[{name}]" in line for line in found)]
    assert "transformers" in needed


def test_a_path_that_cannot_be_used(follow_line: Any, tmp_path: Path):
    points, out = tmp_path / "in.csv", tmp_path / "out.csv"
    points.write_text(
        "model,format,hardware,count,prompt_tokens,output_tokens,concurrency\nllama-3.1-8b,bf16,A100,1,256,128,1\n"
    )
    said = refused("predict", "--points", str(points), "--out", str(tmp_path / ("a" * 300)))

    def name_another() -> None:
        done = CliRunner().invoke(app, ["predict", "--points", str(points), "--out", str(out)])
        assert done.exit_code == 0, done.output
        assert out.is_file()

    assert "File name too long" in " ".join(said.stderr.split())
    follow_line("{filename}: {strerror}", said=said.stderr, remedy=name_another)


def test_output_on_a_full_disk(follow_line: Any):
    program = [sys.executable, "-c", "from whichbits.cli.app import main; main()", "formats", "--json"]
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        said = subprocess.run(program, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert said.returncode == 2

    def free_some_space() -> None:
        assert json.loads(subprocess.run(program, capture_output=True, text=True, check=True).stdout)

    follow_line("what was to be written is not whole", said=said.stderr, remedy=free_some_space)


def test_an_object_store_that_does_not_answer(follow_line: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("s3fs")
    for name, value in {
        "WHICHBITS_CACHE": str(tmp_path), "AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_ACCESS_KEY_ID": "mine",
        "AWS_SECRET_ACCESS_KEY": "mine", "AWS_DEFAULT_REGION": "us-east-1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(objects, "PATIENCE_S", 0.0)
    objects.file_system.cache_clear()
    said = refused("recommend", "s3://bucket/mine")

    def one_that_answers() -> None:
        monkeypatch.setattr(objects.Objects, "tags", lambda self, prefix: {})
        assert "holds no study" in " ".join(refused("recommend", "s3://bucket/mine").stderr.split())

    follow_line("store: {filename}: {strerror}", said=said.stderr, remedy=one_that_answers)
    objects.file_system.cache_clear()
