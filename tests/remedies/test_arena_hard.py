"""Remedies of Arena-Hard: its judge and its files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers")

from whichbits.accuracy.arena.files import answer_files, prompts
from whichbits.accuracy.kinds.arena_hard import judging_of, readable
from whichbits.accuracy.registry import task
from whichbits.core.errors import UserError
from whichbits.studies.specification.judge import JudgeChoice
from whichbits.studies.steps.shared.judge import judged

JUDGE = JudgeChoice(url="http://HOST:8000", model="NAME")


def test_judges(follow: Any):
    one = task("arena_hard_v0.1")
    follow("and no judge is named", mistake=lambda: judged(one, None), remedy=lambda: judged(one, JUDGE))
    follow(
        "are not judged",
        mistake=lambda: judged(task("recall"), JUDGE),
        remedy=lambda: judged(task("recall"), None),
    )
    follow("and none is named", mistake=lambda: judging_of(one), remedy=lambda: judging_of(judged(one, JUDGE)))


def test_a_judge_of_nothing(follow: Any, tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import whichbits

    monkeypatch.setattr("whichbits.api.evaluate.run_part", lambda *_, **__: ())
    follow(
        "answers of none of these tasks are judged",
        mistake=lambda: whichbits.evaluate(str(tiny_llama), ["recall", "lm_eval:boolq"], judge=JUDGE, store=tmp_path),
        remedy=lambda: whichbits.evaluate(str(tiny_llama), ["recall", "lm_eval:boolq"], store=tmp_path),
    )


def test_answers_of_a_file(follow: Any, tmp_path: Path):
    import pyarrow
    import pyarrow.parquet as parquet

    folder, items = tmp_path / "arena-hard-v0.1", tmp_path / "items.parquet"
    folder.mkdir()
    (folder / "question.jsonl").write_text(json.dumps({"uid": "1", "category": "arena-hard-v0.1", "prompt": "Why?"}) + "\n")
    parquet.write_table(pyarrow.table({"item": ["1"]}), items)

    def write() -> None:
        parquet.write_table(pyarrow.table({"item": ["1"], "prediction": ["So."]}), items)
        prompts("v0.1", tmp_path, items)

    follow("{file} has no answers", mistake=lambda: prompts("v0.1", tmp_path, items), remedy=write)
    follow("of answers to judge against", mistake=lambda: readable(tmp_path / "no"), remedy=lambda: readable(items))


def test_files(follow: Any, tmp_path: Path):
    folder = tmp_path / "arena-hard-v0.1"
    (folder / "model_answer").mkdir(parents=True)
    answers = folder / "model_answer" / "gpt-4-0314.jsonl"
    (folder / "question.jsonl").write_text(json.dumps({"uid": "1", "category": "arena-hard-v0.1", "prompt": "Why?"}) + "\n")

    def answer(uid: str) -> None:
        answers.write_text(json.dumps({"uid": uid, "messages": [{"role": "assistant", "content": {"answer": "So."}}]}) + "\n")

    def put() -> None:
        answer("2")
        answer_files("v0.1", tmp_path)

    raised = follow("answers to Arena-Hard", mistake=lambda: answer_files("v0.1", tmp_path), remedy=put)
    assert raised.remedy.endswith("arena-hard-v0.1/model_answer/gpt-4-0314.jsonl")
    follow(
        "no baseline answers question",
        mistake=lambda: prompts("v0.1", tmp_path),
        remedy=lambda: (answer("1"), prompts("v0.1", tmp_path)),
    )
    whole = answers.read_text()
    put_back = lambda: (answers.write_text(whole), prompts("v0.1", tmp_path))  # noqa: E731
    answers.write_text(whole * 2)
    follow("data_dir: {file} has {uid}", mistake=lambda: prompts("v0.1", tmp_path), remedy=put_back)
    answers.write_text(whole.replace("assistant", "user"))
    follow("{where}: {field} is not as it should be", mistake=lambda: prompts("v0.1", tmp_path), remedy=put_back)
    questions = folder / "question.jsonl"
    questions.write_text(questions.read_text() * 2)
    with pytest.raises(UserError, match="has 1 2 times"):
        prompts("v0.1", tmp_path)
