"""Remedies of whichbits.api."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import whichbits

URL = "http://localhost:8000"


@pytest.fixture(autouse=True)
def unrun(monkeypatch: pytest.MonkeyPatch) -> None:
    """Studies are specified here, and not run."""
    for command in ("evaluate", "compare", "bench"):
        monkeypatch.setattr(f"whichbits.api.{command}.run_part", lambda *_, **__: [])


def test_an_address_of_what_is_emulated(follow: Any):
    for told in ({"emulated": True}, {"url": URL}):
        follow(
            "url: a checkpoint is emulated here",
            mistake=lambda: whichbits.evaluate("model", ["recall"], emulated=True, url=URL),
            remedy=lambda told=told: whichbits.evaluate("model", ["recall"], **told),
        )


def test_an_address_of_one_of_two(follow: Any, tmp_path: Path):
    prompts = tmp_path / "prompts.jsonl"
    for given in ({"url": URL}, {"candidate_url": URL}, {"url": URL, "candidate_url": URL, "emulated": True}):
        for told in ({"url": URL, "candidate_url": "http://localhost:8001"}, {}):
            follow(
                "url and candidate_url: texts of base and candidate",
                mistake=lambda given=given: whichbits.compare("model", "quantized", prompts=prompts, **given),
                remedy=lambda told=told: whichbits.compare("model", "quantized", prompts=prompts, **told),
            )


def test_a_margin_that_is_no_share(follow: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("whichbits.studies.store.manifest.read", lambda _: None)
    monkeypatch.setattr("whichbits.studies.conclusion.at", lambda _, margin, prices: margin)
    monkeypatch.setattr("whichbits.studies.conclusion.read_verdict", lambda manifest, folder: manifest)
    for margin in (2.0, 0.0, -0.01, float("nan")):
        follow(
            "margin: {margin} is not between 0 and 1",
            mistake=lambda margin=margin: whichbits.recommend(tmp_path, margin=margin),
            remedy=lambda: whichbits.recommend(tmp_path, margin=0.02),
        )


def test_a_name_without_an_address(follow: Any):
    for verb, what in ((whichbits.evaluate, "recall"), (whichbits.bench, "rag")):
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
            mistake=lambda named=named: whichbits.compare("model", "quantized", **named),
            remedy=lambda named=named: whichbits.compare(
                "model", "quantized", **named, url=URL, candidate_url="http://localhost:8001"
            ),
        )
        assert "--url and --candidate-url" in error.remedy


def test_a_study_without_candidates(follow: Any, tmp_path: Path, tiny_llama: Path):
    file = tmp_path / "s.yaml"

    def plan(candidates: str) -> None:
        file.write_text(f"version: 1\nname: a\nmodel: {tiny_llama}\ncandidates: {candidates}\n")
        whichbits.plan(file, store=tmp_path / "store")

    error = follow("is empty", mistake=lambda: plan("[]"), remedy=lambda: plan("[{format: w8a8-int, run: emulated}]"))
    assert "whichbits evaluate" in error.remedy


def test_a_decision_without_tasks_or_with_a_budget_for_none(follow: Any, tmp_path: Path, tiny_llama: Path):
    file = tmp_path / "small.yaml"

    def plan(
        more: str, *, tasks: str = "[{name: order, limit: 8}, {name: recall, limit: 8}]", until_decided: bool = False
    ) -> None:
        file.write_text(
            f"version: 1\nname: a\nmodel: {tiny_llama}\ncandidates: [{{format: w8a8-int, run: emulated}}]\n"
            f"tasks: {tasks}\nmax_length: 256\n{more}\n"
        )
        whichbits.plan(file, store=tmp_path / "store", until_decided=until_decided)

    follow(
        "do not pay for one item of each",
        mistake=lambda: plan("decide: {budget: 1}"),
        remedy=lambda: plan("decide: {budget: 2}"),
    )
    follow("has no tasks", mistake=lambda: plan("", tasks="[]", until_decided=True), remedy=lambda: plan("", tasks="[]"))
