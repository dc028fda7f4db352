"""Remedies of whichbits.api.commands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from whichbits.api import commands

URL = "http://localhost:8000"


@pytest.fixture(autouse=True)
def unrun(monkeypatch: pytest.MonkeyPatch) -> None:
    """Studies are specified here, and not run."""
    monkeypatch.setattr("whichbits.api.commands.run_part", lambda *_, **__: [])


def test_an_address_of_what_is_emulated(follow: Any):
    for told in ({"emulated": True}, {"url": URL}):
        follow(
            "url: a checkpoint is emulated here",
            mistake=lambda: commands.evaluate("model", ["recall"], emulated=True, url=URL),
            remedy=lambda told=told: commands.evaluate("model", ["recall"], **told),
        )


def test_an_address_of_one_of_two(follow: Any, tmp_path: Path):
    prompts = tmp_path / "prompts.jsonl"
    for given in ({"url": URL}, {"candidate_url": URL}, {"url": URL, "candidate_url": URL, "emulated": True}):
        for told in ({"url": URL, "candidate_url": "http://localhost:8001"}, {}):
            follow(
                "url and candidate_url: texts of base and candidate",
                mistake=lambda given=given: commands.compare("model", "quantized", prompts=prompts, **given),
                remedy=lambda told=told: commands.compare("model", "quantized", prompts=prompts, **told),
            )


def test_a_margin_that_is_no_share(follow: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("whichbits.studies.store.manifest.read", lambda _: None)
    monkeypatch.setattr("whichbits.studies.conclusion.judge", lambda *_, margin, **__: margin)
    for margin in (2.0, 0.0, -0.01, float("nan")):
        follow(
            "margin: {margin} is not between 0 and 1",
            mistake=lambda margin=margin: commands.recommend(tmp_path, margin=margin),
            remedy=lambda: commands.recommend(tmp_path, margin=0.02),
        )


def test_a_name_without_an_address(follow: Any):
    for verb, what in ((commands.evaluate, "recall"), (commands.bench, "rag")):
        follow(
            "is the name at an address",
            mistake=lambda verb=verb, what=what: verb("model", [what], served_model_name="mine"),
            remedy=lambda verb=verb, what=what: verb("model", [what], served_model_name="mine", url=URL),
        )


def test_a_name_without_the_addresses_of_both(follow: Any, tmp_path: Path):
    for name in ("served_model_name", "candidate_served_model_name"):
        named = {"prompts": tmp_path / "prompts.jsonl", name: "mine"}
        error = follow(
            "is the name at an address",
            mistake=lambda named=named: commands.compare("model", "quantized", **named),
            remedy=lambda named=named: commands.compare(
                "model", "quantized", **named, url=URL, candidate_url="http://localhost:8001"
            ),
        )
        assert "--url and --candidate-url" in error.remedy
