"""Speeds and texts of a server whose weights are not the candidate's, and of one that changes: never without a word."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import whichbits
from whichbits.core.errors import UserError
from whichbits.studies.specification.schema import Specification
from whichbits.verdict.verdict import Verdict

LOAD = {"name": "w", "prompt_tokens": 16, "output_tokens": 4, "synchronous": True, "concurrency": [], "requests_per_stream": 5}

Serve = Callable[[Path], Any]


def random_weights(server: Any) -> Any:
    """Another model of the same shape behind the address."""
    torch.manual_seed(7)
    with torch.no_grad():
        for parameter in server.model.parameters():
            if parameter.dim() == 2:
                torch.nn.init.normal_(parameter, std=float(parameter.float().std()))
    return server


def without_logprobs(server: Any) -> Any:
    """As llama.cpp's and other servers, which score no prompts."""

    def damage(answer: dict[str, Any], request: dict[str, Any]) -> None:
        answer["choices"][0]["logprobs"] = None

    server.damage = damage
    return server


def test_bench_says_whose_weights_it_measured(small_model: Path, serve: Serve, tmp_path: Path) -> None:
    rows = whichbits.bench(str(small_model), ["16/4"], url=random_weights(serve(small_model)).url, store=tmp_path)
    assert len(rows) > 1
    assert all(row.weights is not None and row.weights.same is False for row in rows)


def study(small_model: Path, urls: dict[str, str], folder: Path, **fields: Any) -> Verdict:
    prompts = folder / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"id": str(n), "prompt": f"count {n}"}) + "\n" for n in range(3)), encoding="utf-8")
    outcome = whichbits.study(
        Specification.model_validate(
            {
                "version": 1,
                "name": "speeds",
                "model": str(small_model),
                "candidates": [{"checkpoint": str(small_model), "name": name} for name in urls if name != "bf16"],
                "tasks": [],
                "engine": {"kind": "url", "urls": urls},
                **fields,
            }
        ),
        store=folder / "store",
        quiet=True,
    )
    return outcome.verdict


@pytest.mark.nightly
def test_no_batch_of_other_weights_enters_a_speed_up(small_model: Path, serve: Serve, tmp_path: Path) -> None:
    urls = {name: serve(small_model).url for name in ("bf16", "own")} | {"other": random_weights(serve(small_model)).url}
    own = tmp_path / "own.jsonl"
    own.write_text("".join(json.dumps({"prompt": f"count {n} and on"}) + "\n" for n in range(10)), encoding="utf-8")
    load = {"name": "mine", "prompts": str(own), "output_tokens": 6, "concurrency": [], "natural_output": {"concurrency": 2}}
    apart = {"batch_sizes": [1, 2], "prompt_tokens": [16], "context_tokens": [24], "repeats": 2, "steps": 8}
    verdict = study(small_model, urls, tmp_path, workloads=[load], prefill_decode=apart, rounds=2)
    found = {(one.candidate, one.phase, one.batch_size, one.tokens): one for one in verdict.batches}
    places = [("prefill", 16), ("decode", 24)]
    assert set(found) == {(name, phase, size, tokens) for name in urls for phase, tokens in places for size in (1, 2)}
    blamed = {key[0] for key, one in found.items() if any(why.code == "other_weights" for why in one.reasons)}
    assert blamed == {"other"}
    assert not any(one.valid for key, one in found.items() if key[0] == "other")
    assert all(one.speedup is not None for key, one in found.items() if key[0] == "own" and one.valid)
    lengths = {one.candidate: one for one in verdict.natural}
    assert set(lengths) == {"own", "other"} and not lengths["other"].valid
    assert (lengths["own"].length_ratio.value, lengths["own"].prompts) == (1.0, 10), "the same weights answer alike"
    page = (tmp_path / "store" / "report.html").read_text(encoding="utf-8")
    assert "Prefill and decode apart" in page and "Outputs that end by themselves" in page


def test_no_speed_of_other_weights_enters_a_verdict(small_model: Path, serve: Serve, tmp_path: Path) -> None:
    urls = {name: serve(small_model).url for name in ("bf16", "own")}
    urls |= {"other": random_weights(serve(small_model)).url, "mute": without_logprobs(serve(small_model)).url}
    verdict = study(small_model, urls, tmp_path, workloads=[LOAD], rounds=1)
    measured = {name: [found for found in verdict.speed if found.candidate == name] for name in urls}
    assert all(measured.values())
    blamed = {
        name for name, found in measured.items() if any(why.code == "other_weights" for one in found for why in one.reasons)
    }
    assert blamed == {"other"}
    assert not any(one.valid for one in measured["other"])
    assert not any(one.valid for one in verdict.cost if one.candidate == "other")
    assert {entry.candidate: entry.other for entry in verdict.served_weights} == {
        "bf16": False, "own": False, "other": True, "mute": False,
    }  # fmt: skip
    said = {entry.code: entry.candidate for entry in verdict.caveats if entry.code in ("other_weights", "weights_not_compared")}
    assert said == {"other_weights": "other", "weights_not_compared": "mute"}
    assert len({one.load_level for one in verdict.speed}) == 1
    log = (tmp_path / "store" / "run.log").read_text()
    assert all(f"from {urls[name]}" in log or f", {urls[name]}" in log for name in urls)


def test_texts_of_other_weights_are_said_to_be(small_model: Path, serve: Serve, tmp_path: Path) -> None:
    urls = {"bf16": serve(small_model).url, "other": random_weights(serve(small_model)).url}
    similarity = {"prompts": str(tmp_path / "prompts.jsonl"), "max_tokens": 4, "windows": 1, "window_tokens": 16}
    verdict = study(small_model, urls, tmp_path, similarity=similarity)
    assert {entry.candidate: entry.other for entry in verdict.served_weights} == {"bf16": False, "other": True}
    assert [entry.candidate for entry in verdict.caveats if entry.code == "other_weights"] == ["other"]


@pytest.mark.parametrize("when", [3, 7])
def test_a_server_that_changes_under_a_load_fails_the_step(when: int, small_model: Path, serve: Serve, tmp_path: Path) -> None:
    """In the first load, or in the second one."""
    server = serve(small_model)
    left = iter(range(when))

    def damage(answer: dict[str, Any], request: dict[str, Any]) -> None:
        if next(left, None) is None:
            server.started = 99.0

    server.damage = damage
    with pytest.raises(UserError, match=r"has changed meanwhile .*: it was started anew") as raised:
        whichbits.bench(str(small_model), ["16/4"], url=server.url, store=tmp_path)
    assert server.url in raised.value.message
    assert str(raised.value).count("→") == 1
    assert not list(tmp_path.glob("steps/serve/*/result.json"))


def test_a_remedy_stands_once_in_the_line_of_a_failed_step(small_model: Path, serve: Serve, tmp_path: Path) -> None:
    def gone(answer: dict[str, Any], request: dict[str, Any]) -> None:
        server.name = "renamed"

    server = serve(small_model)
    server.damage = gone
    with pytest.raises(UserError) as raised:
        whichbits.bench(str(small_model), ["16/4"], url=server.url, store=tmp_path)
    assert str(raised.value).count("→") == 1
    assert "run.log" in raised.value.remedy
    assert raised.value.remedy.startswith("it serves renamed")
