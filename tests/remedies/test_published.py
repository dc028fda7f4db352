"""Remedies of the published tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import whichbits
from whichbits.cli.app import app
from whichbits.verdict.assemble import decide
from whichbits.verdict.findings import Findings


def test_a_table_that_is_none(follow: Any):
    follow(
        "is no published table",
        mistake=lambda: whichbits.list_published("similarty"),
        remedy=lambda: whichbits.list_published("similarity"),
    )


def test_a_model_that_a_table_lacks(follow: Any):
    follow(
        "nothing is published here of {model}",
        mistake=lambda: whichbits.list_published("2", model="org/other"),
        remedy=lambda: whichbits.list_published("2", model="meta-llama/Llama-3.1-8B-Instruct"),
    )


def test_a_study_of_a_model_that_no_table_has(follow: Any, monkeypatch: pytest.MonkeyPatch):
    verdict = decide(Findings(base="bf16", formats={"bf16": "bf16"}), study="s", model="org/other")
    monkeypatch.setattr("whichbits.api.recommend.recommend", lambda store: verdict)
    follow(
        "study: nothing is published here of",
        mistake=lambda: whichbits.compare_published(Path("store")),
        remedy=lambda: whichbits.list_published(model="Llama-3.1-8B-Instruct"),
    )


def test_a_study_and_a_model(follow_line: Any, monkeypatch: pytest.MonkeyPatch):
    said = CliRunner().invoke(app, ["published", "2", "--study", "store"])
    assert said.exit_code == 2
    follow_line("it says which model is meant", said=said.stderr.removeprefix("error: "), remedy=only_a_table)


def only_a_table() -> None:
    assert CliRunner().invoke(app, ["published", "2"]).exit_code == 0
