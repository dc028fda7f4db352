"""Remedies of whichbits.accuracy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from whichbits.accuracy.kinds.generated import documents
from whichbits.accuracy.kinds.jsonl import Jsonl, own_task, read_documents
from whichbits.accuracy.local_data import local_dataset
from whichbits.accuracy.registry import suite_names, task
from whichbits.accuracy.task import Task

QUESTION = {"prompt": "1 + 1?", "target": "2"}
CHOICE = {"prompt": "1 + 1?", "choices": ["1", "2"], "answer": 1}


def lines(path: Path, *rows: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def own(path: Path, metric: str = "exact_match", max_tokens: int | None = 8) -> Task:
    return Task(name="mine", version=1, kind="jsonl", source=str(path), description="", metric=metric, max_tokens=max_tokens)


def test_a_generator_that_is_not_there(follow: Any):
    error = follow(
        "source: there is no generator", mistake=lambda: documents("riddle", 1, version=1, seed=0), remedy=lambda: None
    )
    for generator in error.remedy.removeprefix("choose from ").split(", "):
        assert documents(generator, 1, version=1, seed=0)


def test_a_generator_that_runs_out(follow: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("whichbits.accuracy.kinds.generated.GENERATORS", {"coin": lambda draw: {"prompt": draw.choice("ht")}})
    error = follow(
        "has no {count} different items", mistake=lambda: documents("coin", 3, version=1, seed=0), remedy=lambda: None
    )
    most = int(error.remedy.rpartition(" ")[2])
    assert len(documents("coin", most, version=1, seed=0)) == most


def test_a_metric_that_is_none(follow: Any, tmp_path: Path):
    error = follow(
        "is no metric of a task of your own",
        mistake=lambda: own_task("mine", lines(tmp_path / "a.jsonl", QUESTION), metric="f1"),
        remedy=lambda: None,
    )
    for metric in error.remedy.removeprefix("choose from ").split(", "):
        row = CHOICE if metric.startswith("acc") else QUESTION
        assert own_task("mine", lines(tmp_path / "a.jsonl", row), metric=metric).metric == metric


def test_a_metric_of_other_items(follow: Any, tmp_path: Path):
    for row, metric in ((CHOICE, "exact_match"), (QUESTION, "acc")):
        path = lines(tmp_path / "a.jsonl", row)
        error = follow(
            "metric: task {name} has metric {metric}, but the items of",
            mistake=lambda path=path, metric=metric: read_documents(own(path, metric)),
            remedy=lambda: None,
        )
        for told in error.remedy.removeprefix("set metric to ").split(" or "):
            assert read_documents(own(path, told))


def test_items_of_two_forms(follow: Any, tmp_path: Path):
    def as_two():
        for name, metric, row in (("a", "acc", CHOICE), ("b", "exact_match", QUESTION)):
            read_documents(own(lines(tmp_path / f"{name}.jsonl", row), metric))

    path = lines(tmp_path / "both.jsonl", CHOICE, QUESTION)
    follow("mixes items with choices and items with a target", mistake=lambda: read_documents(own(path)), remedy=as_two)


def test_a_file_without_items(follow: Any, tmp_path: Path):
    follow(
        "source: {path} of task {name} is empty",
        mistake=lambda: read_documents(own(lines(tmp_path / "a.jsonl"))),
        remedy=lambda: read_documents(own(lines(tmp_path / "a.jsonl", QUESTION))),
    )


def test_an_item_that_is_there_twice(follow: Any, tmp_path: Path):
    twice = {**QUESTION, "cluster": "one"}
    follow(
        "again, which would count as two",
        mistake=lambda: read_documents(own(lines(tmp_path / "a.jsonl", QUESTION, QUESTION))),
        remedy=lambda: [
            read_documents(own(lines(tmp_path / "a.jsonl", QUESTION))),
            read_documents(own(lines(tmp_path / "a.jsonl", twice, twice))),
        ],
    )


def test_more_items_than_a_file_has(follow: Any, tmp_path: Path):
    task = own(lines(tmp_path / "a.jsonl", QUESTION))
    error = follow("items are asked for", mistake=lambda: Jsonl().with_items(task, 2, seed=0), remedy=lambda: task)
    most = int(error.remedy.removeprefix("set limit to ").partition(" ")[0])
    assert Jsonl().with_items(task, most, seed=0) == task


def test_answers_without_a_limit(follow: Any, tmp_path: Path):
    path = lines(tmp_path / "a.jsonl", QUESTION)
    error = follow(
        "max_tokens: task {name} sets no limit", mistake=lambda: read_documents(own(path, max_tokens=None)), remedy=lambda: None
    )
    assert read_documents(own(path, max_tokens=int(error.remedy.rpartition(" ")[2])))


@pytest.mark.parametrize(
    ("row", "told", "metric"),
    [
        ("1 + 1?", QUESTION, "exact_match"),
        ({"target": "2"}, QUESTION, "exact_match"),
        ({"prompt": " ", "target": "2"}, {"question": "1 + 1?", "target": "2"}, "exact_match"),
        ({**CHOICE, "choices": ["2"]}, CHOICE, "acc"),
        ({**CHOICE, "choices": ["", "2"]}, CHOICE, "acc"),
        ({**CHOICE, "answer": 2}, CHOICE, "acc"),
        ({**CHOICE, "answer": True}, {**CHOICE, "answer": 0}, "acc"),
        ({**CHOICE, "answer": "two"}, {**CHOICE, "answer": "2"}, "acc"),
        ({**CHOICE, "choices": ["2", "2"], "answer": "2"}, {**CHOICE, "choices": ["2", "1"], "answer": "2"}, "acc"),
        ({"prompt": "1 + 1?"}, QUESTION, "exact_match"),
        ({**QUESTION, "target": 2}, QUESTION, "exact_match"),
        ({**QUESTION, "target": ""}, CHOICE, "acc"),
        ({**QUESTION, "target": "(2"}, {**QUESTION, "target": r"\(2"}, "regex"),
        ({**QUESTION, "target": "(2"}, {**QUESTION, "target": "(2"}, "exact_match"),
        ({**QUESTION, "target": "2|"}, {**QUESTION, "target": "2"}, "regex"),
        ({**QUESTION, "target": "2|"}, {**QUESTION, "target": "2|"}, "exact_match"),
        ({**QUESTION, "cluster": 1}, {**QUESTION, "cluster": "1"}, "exact_match"),
        ({**QUESTION, "cluster": 1}, QUESTION, "exact_match"),
    ],
)
def test_a_line_that_cannot_be_used(follow: Any, tmp_path: Path, row: Any, told: dict[str, Any], metric: str):
    path = tmp_path / "a.jsonl"
    pattern = isinstance(row, dict) and row.get("target") in ("(2", "2|")
    follow(
        "{path} line {number}, {field}",
        mistake=lambda: read_documents(own(lines(path, row), "regex" if pattern else metric)),
        remedy=lambda: read_documents(own(lines(path, told), metric)),
    )


def test_a_suite_is_not_a_task(follow: Any):
    for suite in suite_names():
        error = follow("is a suite, not a task", mistake=lambda suite=suite: task(suite), remedy=lambda: None)
        assert all(task(name) for name in error.remedy.removeprefix("its tasks are ").split(", "))


def test_a_task_that_is_not_there(follow: Any):
    error = follow("task: there is no task {name}", mistake=lambda: task("recal"), remedy=lambda: task("recall"))
    assert "did you mean 'recall'" in error.remedy
    error = follow("task: there is no task {name}", mistake=lambda: task("zzzz"), remedy=lambda: None)
    assert all(task(name) for name in error.remedy.removeprefix("choose from ").rpartition(". A task")[0].split(", "))


@pytest.fixture(scope="module")
def datasets() -> None:
    pytest.importorskip("datasets")


def test_data_that_are_not_there(follow: Any, datasets: None, tmp_path: Path):

    def read():
        assert local_dataset(tmp_path, "owner/data", "main")["test"].to_list() == [{"a": 1}]

    error = follow("data_dir: {data_dir} has no data set {name}", mistake=read, remedy=lambda: None)
    folder = Path(error.remedy.rpartition(" ")[2])
    (folder / "main").mkdir(parents=True)
    error = follow("holds no split of {name}", mistake=read, remedy=lambda: None)
    path = Path(error.remedy.removeprefix("name the files ").partition(" (")[0])
    lines(path, {"a": 1})
    read()


def test_data_that_are_no_objects(follow: Any, datasets: None, tmp_path: Path):
    rows = [{"a": 1}, {"a": 2}]

    def read():
        assert local_dataset(tmp_path, "owner/data", None)["test"].to_list() == rows

    def as_a_list():
        path.unlink()
        path.with_suffix(".json").write_text(json.dumps(rows))
        read()

    def as_lines():
        lines(path, *rows)
        read()

    for remedy in (as_lines, as_a_list):
        path = lines(tmp_path / "data" / "test.jsonl", rows)
        follow("is not a list of objects", mistake=read, remedy=remedy)
    path = path.with_suffix(".json")
    path.write_text('{"a": 1}')
    error = follow("is not a list of objects", mistake=read, remedy=lambda: path.write_text(json.dumps(rows)))
    assert error.remedy == "write a JSON list of objects"
    read()
