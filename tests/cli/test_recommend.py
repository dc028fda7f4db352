"""The command `recommend`: a page is named where it is of the verdict that is shown, else the command that writes it."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from whichbits.api.recommend import Advice
from whichbits.cli.app import app
from whichbits.verdict.assemble import decide
from whichbits.verdict.findings import Findings


@pytest.mark.parametrize("page", [None, Path("a store/report.html")])
def test_a_page_is_named_where_it_is_of_this_verdict(page: Path | None, monkeypatch: pytest.MonkeyPatch):
    verdict = decide(Findings(base="bf16", formats={"bf16": "bf16"}), study="s", model="m")
    monkeypatch.setattr("whichbits.api.recommend.advise", lambda *_, **__: Advice(verdict, page, {}))
    shown = CliRunner().invoke(app, ["recommend", "a store", "--margin", "0.1234567", "--price", "h100=2"]).stdout
    assert ("Report  a store/report.html" in shown) == (page is not None)
    assert ("whichbits report 'a store' --margin 0.1234567 --price h100=2" in shown) == (page is None)
