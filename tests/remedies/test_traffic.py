"""Mistakes in recorded logs and prompts of the user's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from whichbits.serving.traffic import log
from whichbits.serving.traffic.log import read_log
from whichbits.serving.traffic.own_prompts import natural_prompts, read_prompts
from whichbits.serving.traffic.resolve import with_lengths
from whichbits.serving.workload import parse_workload
from whichbits.studies.steps.serve import located

pytest.importorskip("transformers")

LOG = "arrival_s,prompt_tokens,output_tokens\n0,10,4\n1,20,6\n"


def read(path: Path, text: str) -> None:
    path.write_text(text)
    read_log(path)


@pytest.mark.parametrize(
    ("error", "name", "wrong"),
    [
        ("has the fields", "log.csv", LOG.replace("arrival_s", "when")),
        ("cannot be read: {error}", "log.csv", LOG.replace("20", "many")),
        ("is not CSV", "log.csv", LOG + '2,"20,6\n'),
        ("is not CSV", "log.csv", LOG + "2,20," + "6" * 200_000 + "\n"),
        ("cannot be sent", "log.csv", LOG.replace("20", "-20")),
        ("holds no two requests of different times", "log.csv", LOG.replace("1,20,6\n", "")),
    ],
)
def test_a_log_with_a_mistake(follow: Any, tmp_path: Path, error: str, name: str, wrong: str) -> None:
    path = tmp_path / name
    follow(error, mistake=lambda: read(path, wrong), remedy=lambda: read(path, LOG))


@pytest.mark.parametrize(
    ("error", "wrong"), [("{where}, text: {problem}", LOG), ("trace {path}, line {number} is not an object", "[1]\n")]
)
def test_a_log_that_is_no_jsonl(follow: Any, tmp_path: Path, error: str, wrong: str) -> None:
    row = '{"arrival_s": %d, "prompt_tokens": 9, "output_tokens": 2}\n'
    follow(
        error,
        mistake=lambda: read(tmp_path / "log.jsonl", wrong),
        remedy=lambda: read(tmp_path / "log.jsonl", row % 0 + row % 1),
    )


def test_a_log_of_too_many_requests(follow: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "MOST", 2)
    path = tmp_path / "log.csv"
    follow("requests", mistake=lambda: read(path, LOG + "2,9,9\n"), remedy=lambda: read(path, LOG))


@pytest.mark.parametrize(("error", "wrong"), [("prompts {path}, line {number}", '{"text": "w1"}\n'), ("holds none", "\n")])
def test_prompts_with_a_mistake(follow: Any, tmp_path: Path, word_tokenizer: Path, error: str, wrong: str) -> None:
    path = tmp_path / "prompts.jsonl"

    def prompts(text: str) -> None:
        path.write_text(text)
        read_prompts(path, word_tokenizer, 8)

    follow(error, mistake=lambda: prompts(wrong), remedy=lambda: prompts('{"prompt": "w1 w2"}\n'))


def test_too_few_prompts_for_natural_outputs(follow: Any, tmp_path: Path, word_tokenizer: Path) -> None:
    path = tmp_path / "prompts.jsonl"

    def asked(prompts: int, concurrency: int) -> None:
        path.write_text('{"prompt": "w1 w2"}\n' * prompts)
        fields = {"name": "mine", "prompt_tokens": 4, "output_tokens": 8, "prompts": path}
        natural_prompts(parse_workload({**fields, "natural_output": {"concurrency": concurrency}}), word_tokenizer)

    for prompts, concurrency in ((10, 2), (9, 1)):
        follow("natural_output: ", mistake=lambda: asked(9, 2), remedy=lambda p=prompts, c=concurrency: asked(p, c))


def test_lengths_beside_a_log(follow: Any, tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text(LOG)
    fields = {"name": "a", "trace": str(tmp_path / "log.csv")}
    follow(
        "lengths of its own",
        mistake=lambda: with_lengths(fields | {"prompt_tokens": 9, "output_tokens": 9}, tmp_path),
        remedy=lambda: parse_workload(with_lengths(fields, tmp_path)),
    )


@pytest.mark.parametrize(
    ("wrong", "right"),
    [({"speed": 1e-300}, {"speed": 2}), ({"requests": 20}, {"requests": 21}), ({"speed": 1e6}, {"replay": False})],
)
def test_a_log_that_takes_no_time_or_does_not_end(follow: Any, tmp_path: Path, wrong: Any, right: Any) -> None:
    path = tmp_path / "log.csv"
    path.write_text(LOG.partition("\n")[0] + "\n" + "0,10,4\n" * 20 + "2,9,9\n")

    def read(trace: Any) -> None:
        parse_workload(with_lengths({"name": "a", "trace": {"file": str(path), **trace}}, tmp_path))

    follow("workload.trace: ", mistake=lambda: read(wrong), remedy=lambda: read(right))


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"file": "log.csv", "requests": 0}, "workload.trace.requests = 0"),
        ({"file": "log.csv", "requests": -30}, "workload.trace.requests = -30"),
        ({"file": "log.csv", "speed": 0}, "workload.trace.speed = 0"),
        (["log.csv"], "workload.trace = "),
        (5, "workload.trace = 5"),
        ({}, "workload.trace.file is missing"),
        ({"file": 5}, "workload.trace.file = 5"),
    ],
)
def test_a_log_that_is_not_written_as_one(follow: Any, tmp_path: Path, wrong: Any, field: str) -> None:
    (tmp_path / "log.csv").write_text(LOG)

    def read(trace: Any) -> None:
        trace = (
            {**trace, "file": str(tmp_path / "log.csv")}
            if isinstance(trace, dict) and trace.get("file") == "log.csv"
            else trace
        )
        parse_workload(with_lengths({"name": "a", "trace": trace}, tmp_path))

    error = follow(
        "{field} is missing" if field.endswith("missing") else "{field} = {first} is not valid",
        mistake=lambda: read(wrong),
        remedy=lambda: read({"file": "log.csv"}),
    )
    assert field in error.message


def test_a_log_that_has_changed_since_the_plan(follow: Any, tmp_path: Path, serve_step: Any) -> None:
    path = tmp_path / "log.csv"
    path.write_text(LOG)
    planned = serve_step(parse_workload(with_lengths({"name": "a", "trace": str(path)}, tmp_path)))
    path.write_text(LOG + "2,9,9\n")
    again = serve_step(parse_workload(with_lengths({"name": "a", "trace": str(path)}, tmp_path)))
    follow("has changed since the study was planned", mistake=lambda: located(planned), remedy=lambda: located(again))
