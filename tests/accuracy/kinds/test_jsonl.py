"""The user's own file, and each mistake in it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from whichbits.accuracy.kinds.jsonl import own_task, read_documents
from whichbits.accuracy.task import Task
from whichbits.core.errors import UserError


def own(path: Path, metric: str = "exact_match", max_tokens: int | None = 8) -> Task:
    return Task(name="mine", version=1, kind="jsonl", source=str(path), description="", metric=metric, max_tokens=max_tokens)


def test_answers_by_index_and_by_text(tmp_path: Path) -> None:
    file = tmp_path / "t.jsonl"
    file.write_text(
        '{"question": "q", "choices": ["x", "y"], "answer": 1, "id": 7}\n'
        '\n{"prompt": "p", "choices": ["x", "y"], "answer": "x"}\n'
    )
    assert read_documents(own(file, "acc")) == [
        {"prompt": "q", "choices": ["x", "y"], "answer": 1},
        {"prompt": "p", "choices": ["x", "y"], "answer": 0},
    ]


def test_line_separators_inside_a_text_do_not_split_it(tmp_path: Path) -> None:
    file = tmp_path / "t.jsonl"
    file.write_text(json.dumps({"prompt": "a\u2028b\x85c", "target": "t"}, ensure_ascii=False) + "\r\n", encoding="utf-8")
    assert read_documents(own(file)) == [{"prompt": "a\u2028b\x85c", "target": "t"}]


GOOD = b'{"prompt": "p", "target": "t"}\n'


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{not json}", "line 2, text: not JSON"),
        (b'{"prompt": "\xff", "target": "t"}', "line 2, text: not UTF-8 at byte 12"),
        (b'["p", "t"]', "line 2, text: a list"),
        (b"[" * 100_000, "line 2, text: not to be read"),
        (b'{"prompt": "p", "target": "t", "n": ' + b"9" * 5000 + b"}", "line 2, text: not to be read"),
        (b'{"prompt": "p\\ud800", "target": "t"}', "line 2, text: half of a surrogate pair"),
        (b'{"prompt": " ", "target": "t"}', "line 2, prompt: ' '"),
        (b'{"promt": "p", "target": "t"}', "line 2, prompt: None"),
        (b'{"prompt": "", "target": "t"}', "line 2, prompt: ''"),
        (b'{"prompt": "p"}', "line 2, target: None"),
        (b'{"prompt": "p", "target": 5}', "line 2, target: 5"),
        (b'{"prompt": "p", "choices": ["x"], "answer": 0}', "line 2, choices"),
        (b'{"prompt": "p", "choices": ["x", 1], "answer": 0}', "line 2, choices"),
        (b'{"prompt": "p", "choices": ["x", "y"], "answer": 2}', "line 2, answer: 2 is no choice"),
        (b'{"prompt": "p", "choices": ["x", "y", "x"], "answer": 2}', "line 2, choices: 'x' is there more than once"),
        (b'{"prompt": "p", "choices": ["x", "y"], "answer": true}', "line 2, answer: True"),
        (b'{"prompt": "p", "choices": ["x", "x"], "answer": "x"}', "line 2, answer: 'x'"),
        (b'{"prompt": "p", "choices": ["x", "y"]}', "line 2, answer: None"),
        (b'{"prompt": "p", "target": "t", "cluster": 3}', "line 2, cluster: 3"),
        (b'{"prompt": "p", "choices": ["x", "y"], "answer": 0}', "mixes items"),
    ],
)
def test_a_mistake_is_told_with_its_place(tmp_path: Path, line: bytes, message: str) -> None:
    file = tmp_path / "t.jsonl"
    file.write_bytes(GOOD + line + b"\n")
    with pytest.raises(UserError, match=message) as caught:
        read_documents(own(file))
    assert str(file) in caught.value.message
    assert caught.value.remedy


def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path: Path) -> None:
    file = tmp_path / "t.jsonl"
    file.write_bytes(b"\xef\xbb\xbf" + GOOD)
    assert read_documents(own(file)) == [{"prompt": "p", "target": "t"}]


def test_an_unknown_metric_is_told(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_bytes(GOOD)
    with pytest.raises(UserError, match="'accuracy' is no metric") as caught:
        own_task("mine", tmp_path / "t.jsonl", metric="accuracy")
    assert "exact_match" in caught.value.remedy


def test_a_bad_regular_expression_is_told(tmp_path: Path) -> None:
    file = tmp_path / "t.jsonl"
    file.write_text('{"prompt": "p", "target": "(open"}')
    with pytest.raises(UserError, match=r"line 1, target: .*not a regular expression"):
        read_documents(own(file, "regex"))
    assert read_documents(own(file, "exact_match"))


@pytest.mark.parametrize("pattern", ["yes|", "(?i)(yes)?", ".*", "^", "[0-9]*"])
def test_a_pattern_that_every_answer_has_is_told(pattern: str, tmp_path: Path) -> None:
    file = tmp_path / "t.jsonl"
    file.write_text(json.dumps({"prompt": "p", "target": pattern}))
    with pytest.raises(UserError, match=r"line 1, target: .*every answer"):
        read_documents(own(file, "regex"))


@pytest.mark.parametrize(
    ("content", "metric", "max_tokens", "message"),
    [
        (b"", "acc", None, "is empty"),
        (GOOD, "acc", 8, "metric: task mine has metric 'acc'"),
        (GOOD, "exact_match", None, "max_tokens"),
        (b'{"prompt": "p", "choices": ["x", "y"], "answer": 0}', "regex", None, "have choices"),
    ],
)
def test_file_and_task_must_agree(tmp_path: Path, content: bytes, metric: str, max_tokens: int | None, message: str) -> None:
    file = tmp_path / "t.jsonl"
    file.write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_documents(own(file, metric, max_tokens))


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file"):
        read_documents(own(tmp_path / "none.jsonl"))


def test_the_metric_follows_from_the_lines(tmp_path: Path) -> None:
    file = tmp_path / "t.jsonl"
    file.write_bytes(GOOD)
    assert own_task("mine", file).metric == "exact_match"
    assert own_task("mine", file, metric="regex", max_tokens=5).max_tokens == 5
    file.write_text('{"prompt": "p", "choices": ["x", "y"], "answer": 0}')
    assert own_task("mine", file).metric == "acc"
    with pytest.raises(UserError, match="have choices"):
        own_task("mine", file, metric="regex")


@pytest.mark.parametrize("target", ["(", "a{99999999999}", "(" * 3000 + ")" * 3000])
def test_a_target_that_is_no_pattern_is_named_by_its_line(tmp_path: Path, target: str) -> None:
    file = tmp_path / "t.jsonl"
    file.write_text(json.dumps({"prompt": "p", "target": "fine"}) + "\n" + json.dumps({"prompt": "p", "target": target}))
    with pytest.raises(UserError, match="line 2, target"):
        own_task("mine", file, metric="regex")


def test_a_target_without_end_is_named_by_its_line(tmp_path: Path) -> None:
    pytest.importorskip("lm_eval")
    from whichbits.accuracy.kinds.registry import task_kind

    file = tmp_path / "t.jsonl"
    file.write_text('{"prompt": "p", "target": "fine"}\n\n{"prompt": "p", "target": "(a+)+$"}\n', encoding="utf-8")
    task = own_task("mine", file, metric="regex")
    ours = task_kind("jsonl").harness_tasks(task, seed=0, data_dir=None)["mine"]
    assert ours.process_results(ours.eval_docs[1], ["aaa"]) == {"regex": 1.0}
    with pytest.raises(UserError, match="line 3, target"):
        ours.process_results(ours.eval_docs[1], ["a" * 64 + "!"])
