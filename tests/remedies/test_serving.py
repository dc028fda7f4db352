"""Mistakes in workloads, and in what measures them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from whichbits.core.errors import UserError
from whichbits.serving.measure import measure
from whichbits.serving.traffic.random_prompts import ordinary_tokens
from whichbits.serving.workload import check_context, named_workloads, parse_workload

GOOD = {"name": "mine", "prompt_tokens": 32, "output_tokens": 8}


@pytest.mark.parametrize("field", GOOD)
def test_a_field_that_is_missing(follow: Any, field: str) -> None:
    rest = {name: value for name, value in GOOD.items() if name != field}
    error = follow(
        "{field} is missing",
        mistake=lambda: parse_workload(rest),
        remedy=lambda: parse_workload({**rest, field: GOOD[field]}),
    )
    assert field in error.message and field in error.remedy


def test_a_limit_without_seconds(follow: Any) -> None:
    error = follow(
        "{field} is missing",
        mistake=lambda: parse_workload({**GOOD, "slo": {"ttft": {"percentile": 90}}}),
        remedy=lambda: parse_workload({**GOOD, "slo": {"ttft": {"percentile": 90, "seconds": 1}}}),
    )
    assert "seconds" in error.remedy


@pytest.mark.parametrize(
    ("wrong", "right", "remedy"),
    [
        ({"request_per_stream": 10}, {"requests_per_stream": 10}, "did you mean requests_per_stream?"),
        ({"zzz": 10}, {"rate": 10}, "the fields are name, prompt_tokens"),
        ({"slo": {"tfft": {"seconds": 1}}}, {"slo": {"ttft": {"seconds": 1}}}, "did you mean ttft?"),
        ({"slo": {"p95": {"seconds": 1}}}, {"slo": {"itl": {"seconds": 1}}}, "the fields are ttft, itl, tpot, latency"),
        ({"slo": {"ttft": {"seconds": 1, "percentil": 9}}}, {"slo": {"ttft": {"seconds": 1}}}, "did you mean percentile?"),
        ({"slo": {"ttft": {"seconds": 1, "p": 9}}}, {"slo": {"ttft": {"seconds": 1, "percentile": 9}}}, "seconds, percentile"),
    ],
)
def test_a_field_that_is_none(follow: Any, wrong: dict[str, Any], right: dict[str, Any], remedy: str) -> None:
    error = follow(
        "is not a field of a workload",
        mistake=lambda: parse_workload({**GOOD, **wrong}),
        remedy=lambda: parse_workload({**GOOD, **right}),
    )
    assert remedy in error.remedy


@pytest.mark.parametrize(
    ("wrong", "right", "remedy"),
    [
        ({"prompt_tokens": 3}, {"prompt_tokens": 4}, "greater than or equal to 4"),
        ({"prompt_tokens": "many"}, {"prompt_tokens": 9}, "valid integer"),
        ({"name": "My chat"}, {"name": "my-chat"}, "lower-case words joined by hyphens"),
        ({"concurrency": [4, 2]}, {"concurrency": [2, 4]}, "ascending"),
        ({"concurrency": [0]}, {"concurrency": [1]}, "greater than or equal to 1"),
        ({"concurrency": 4}, {"concurrency": [4]}, "list of numbers, as [4], or auto"),
        ({"concurrency": "all"}, {"concurrency": "auto"}, "list of numbers, as [4], or auto"),
        ({"slo": {}}, {"slo": {"ttft": {"seconds": 1}}}, "give at least one of ttft, itl, tpot, latency"),
        ({"slo": {"ttft": 1}}, {"slo": {"ttft": {"seconds": 1}}}, "{seconds: 1}"),
        ({"slo": 1}, {"slo": {"ttft": {"seconds": 1}}}, "{ttft: {seconds: 1}}"),
        ({"synchronous": False, "concurrency": []}, {"synchronous": True, "concurrency": []}, "set synchronous: true"),
        ({"rate": 0}, {"rate": 0.5}, "greater than 0"),
        ({"prompt_tokens": {"mean": 100, "stdev": 1e308}}, {"prompt_tokens": {"mean": 100, "stdev": 9}}, "less than or equal"),
        ({"output_tokens": 10**400}, {"output_tokens": 9}, "less than or equal"),
    ],
)
def test_a_value_that_cannot_be(follow: Any, wrong: dict[str, Any], right: dict[str, Any], remedy: str) -> None:
    error = follow(
        "{field} = {first} is not valid",
        mistake=lambda: parse_workload({**GOOD, **wrong}),
        remedy=lambda: parse_workload({**GOOD, **right}),
    )
    assert remedy in error.remedy


def test_a_workload_by_an_unknown_name(follow: Any) -> None:
    name = next(iter(named_workloads()))
    near = follow("is not known", mistake=lambda: parse_workload(name[:-1]), remedy=lambda: parse_workload(name))
    assert near.remedy == f"did you mean {name}?"
    far = follow("is not known", mistake=lambda: parse_workload("zzz"), remedy=lambda: parse_workload(name))
    for known in far.remedy.removeprefix("the named workloads are ").split(", "):
        parse_workload(known)


OPEN = {**GOOD, "slo": {"latency": {"seconds": 1, "percentile": 99}}}


@pytest.mark.parametrize(
    ("error", "wrong", "right", "remedy"),
    [
        ("is too few to tell", {"capacity": {"requests": 100}}, {"capacity": {"requests": 16_000}}, "give 16000 or more"),
        ("is too few to tell", {"capacity": {"requests": 15_999}}, {"capacity": {}}, "leave it out"),
        (
            "a run that tells",
            {"capacity": {}, "slo": {"ttft": {"seconds": 1, "percentile": 99.99}}},
            {"capacity": {}, "slo": {"ttft": {"seconds": 1, "percentile": 99.984}}},
            "at most the 99.984th",
        ),
        ("requests take more than", {"rate": 1e-320}, {"rate": 0.0013}, "give 0.0013 or more"),
        ("requests take more than", {"rate": [0.001, 3]}, {"rate": [0.001, 3], "rate_requests": 50}, "fewer rate_requests"),
        (
            "workload.ramp: ",
            {"ramp": {"from": 1e-9, "to": 1e-9, "seconds": 1}},
            {"ramp": {"from": 1, "to": 1, "seconds": 1}},
            "1",
        ),
        (
            "workload.ramp: ",
            {"ramp": {"from": 1e5, "to": 1e6, "seconds": 9}},
            {"ramp": {"from": 1, "to": 8, "seconds": 60}},
            "8",
        ),
        (
            "workload.ramp: ",
            {"ramp": {"from": 8, "to": 1e-6, "seconds": 9}},
            {"ramp": {"from": 8, "to": 1, "seconds": 9}},
            "60",
        ),
    ],
)
def test_a_run_that_is_too_short_or_does_not_end(
    follow: Any, error: str, wrong: dict[str, Any], right: dict[str, Any], remedy: str
) -> None:
    said = follow(error, mistake=lambda: parse_workload({**OPEN, **wrong}), remedy=lambda: parse_workload({**OPEN, **right}))
    assert remedy in said.remedy


@pytest.mark.parametrize(("prompt", "context"), [(24, 32), (32, 64)])
def test_a_workload_longer_than_the_context(follow: Any, prompt: int, context: int) -> None:
    def check(prompt_tokens: int, positions: int) -> None:
        check_context(parse_workload({**GOOD, "prompt_tokens": prompt_tokens}), positions)

    follow("the model's context holds", mistake=lambda: check(32, 32), remedy=lambda: check(prompt, context))


def word_tokenizer(folder: Path) -> None:
    """The file of a tokenizer of ten words."""
    from tokenizers import Tokenizer, models

    folder.mkdir(exist_ok=True)
    Tokenizer(models.WordLevel({f"w{n}": n for n in range(10)}, unk_token="w0")).save(str(folder / "tokenizer.json"))


def test_a_folder_without_a_tokenizer(follow: Any, tmp_path: Path) -> None:
    follow(
        "has no tokenizer.json and no tokenizer_config.json",
        mistake=lambda: ordinary_tokens(tmp_path),
        remedy=lambda: word_tokenizer(tmp_path) or ordinary_tokens(tmp_path),
    )


def test_a_server_that_gives_no_completion(follow: Any, fake: Any, tmp_path: Path) -> None:
    word_tokenizer(tmp_path)
    workload = parse_workload({**GOOD, "concurrency": []})

    texts, ids = fake(unknown=frozenset({"prompt"})), fake()
    error = follow(
        "gives no completion",
        mistake=lambda: measure(texts.url, "m", tmp_path, workload, seed=0),
        remedy=lambda: measure(ids.url, "m", tmp_path, workload, seed=0),
    )
    assert "prompt" in error.message
    late = fake(change=lambda body, request: 'data: {"error": {"message": "overloaded"}}\n\n')
    with pytest.raises(UserError, match="gives no completion: an error within the stream: overloaded"):
        measure(late.url, "m", tmp_path, workload, seed=0)


def without_usage(body: dict[str, Any], request: dict[str, Any]) -> None:
    del body["usage"]


def with_usage_of_0(body: dict[str, Any], request: dict[str, Any]) -> None:
    body["usage"]["completion_tokens"] = 0


def early(body: dict[str, Any], request: dict[str, Any]) -> None:
    body["usage"]["completion_tokens"] = 1


@pytest.mark.parametrize(
    ("error", "oddity"),
    [
        ("answers in one piece", {"streams": False}),
        ("sends no usage in its streams", {"change": without_usage}),
        ("sends no usage in its streams", {"change": with_usage_of_0}),
        ("does not keep to a length of output", {"change": early}),
        ("does not keep to a length of output", {"unknown": frozenset({"ignore_eos", "min_tokens"})}),
        ("does not keep to a length of output", {"unknown": frozenset({"ignore_eos", "min_tokens"}), "token_ids": False}),
    ],
)
def test_a_server_that_cannot_be_measured(follow: Any, fake: Any, tmp_path: Path, error: str, oddity: dict[str, Any]) -> None:
    word_tokenizer(tmp_path)
    workload = parse_workload({**GOOD, "concurrency": []})
    odd, able = fake(**oddity), fake()
    follow(
        error,
        mistake=lambda: measure(odd.url, "m", tmp_path, workload, seed=0),
        remedy=lambda: measure(able.url, "m", tmp_path, workload, seed=0),
    )
    assert len(odd.received) <= 6, "no load was begun"


def lowering_tokenizer(folder: Path) -> None:
    """The file of a tokenizer that lowers each letter, and whose words are of capitals: none is read again."""
    from tokenizers import Tokenizer, models, normalizers

    made = Tokenizer(models.WordLevel({"<unk>": 10, **{f"W{n}": n for n in range(10)}}, unk_token="<unk>"))
    made.normalizer = normalizers.Lowercase()
    made.add_special_tokens(["<unk>"])
    made.save(str(folder / "tokenizer.json"))


@pytest.mark.parametrize(
    ("error", "tokenizer"),
    [
        ("none of its tokens is read again", lowering_tokenizer),
        ("no text of exactly", word_tokenizer),  # whose texts are single words: it splits nothing
    ],
)
def test_a_tokenizer_that_makes_no_texts_of_a_length(
    follow: Any, fake: Any, tmp_path: Path, error: str, tokenizer: Any
) -> None:
    pytest.importorskip("transformers")
    tokenizer(tmp_path)
    workload = parse_workload({**GOOD, "concurrency": []})
    texts, ids = fake(token_ids=False), fake()
    follow(
        error,
        mistake=lambda: measure(texts.url, "m", tmp_path, workload, seed=0),
        remedy=lambda: measure(ids.url, "m", tmp_path, workload, seed=0),
    )


def test_processors_that_are_not_there(follow: Any, fake: Any, tmp_path: Path) -> None:
    word_tokenizer(tmp_path)
    server, workload = fake(), parse_workload({**GOOD, "concurrency": []})
    allowed = os.sched_getaffinity(0)

    def run(cpus: set[int]) -> None:
        measure(server.url, "m", tmp_path, workload, seed=0, cpus=cpus)

    error = follow("cannot be used", mistake=lambda: run({4095}), remedy=lambda: run({min(allowed)}))
    assert set(json.loads(error.remedy.removeprefix("choose from "))) == allowed
