"""Remedies of Arena-Hard: its judge and its files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers")

from whichbits.accuracy.arena.files import answer_files, prompts
from whichbits.accuracy.comparison import AnsweredTwice
from whichbits.accuracy.judging import Reply
from whichbits.accuracy.kinds.arena_hard import judging_of, readable
from whichbits.accuracy.kinds.registry import task_kind
from whichbits.accuracy.registry import task
from whichbits.core.errors import UserError
from whichbits.studies.planning.planner import Expansion
from whichbits.studies.specification.judge import JudgeChoice
from whichbits.studies.specification.schema import parse
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


STUDY = """\
version: 1
name: small
model: {model}
{judge}candidates:
  - {{format: w8a8-int, run: emulated}}
tasks:
  - {task}
base_repeats: 1
"""


def test_a_judge_that_no_task_has(follow: Any, tiny_llama: Path):
    def tasks(judge: JudgeChoice | None, task: str, own: str = "") -> Any:
        text = STUDY.format(model=tiny_llama, judge=own, task=task)
        return Expansion(*parse(text, "small.yaml"), judge=judge, ask_servers=False).tasks

    follow("no task of this study is judged", mistake=lambda: tasks(JUDGE, "order"), remedy=lambda: tasks(None, "order"))
    of_study = 'judge: {url: "http://HOST:8000", model: NAME}\n'
    raised = follow(
        "no task of this study is judged by it",
        mistake=lambda: tasks(None, "order", of_study),
        remedy=lambda: (tasks(None, "order"), tasks(None, "arena_hard_v0.1", of_study)),
    )
    assert raised.message.startswith("small.yaml, line 4: judge: ")
    # A task's own judge, which it does not take, and the study's address are told where they stand.
    with pytest.raises(UserError, match=r"line 4: judge: .* is no address"):
        tasks(None, "arena_hard_v0.1", "judge: {url: 'judge:80/', model: m}\n")


def test_one_checkpoint_has_no_base(follow: Any, tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import whichbits

    monkeypatch.setattr("whichbits.api.evaluate.run_part", lambda *_, **__: ())
    direct = JUDGE.model_copy(update={"against_base": True})
    follow(
        "against_base compares candidates with the base",
        mistake=lambda: whichbits.evaluate(str(tiny_llama), ["arena_hard_v0.1"], judge=direct, store=tmp_path),
        remedy=lambda: whichbits.evaluate(str(tiny_llama), ["arena_hard_v0.1"], judge=JUDGE, store=tmp_path),
    )


def test_questions_of_another_version(follow: Any, tmp_path: Path):
    class Equal:
        def replies(self, conversations: Any, *, seeds: Any) -> list[Reply]:
            return [Reply("[[A=B]]", 1, 1) for _ in conversations]

        def say(self, text: str) -> None: ...

    folder = tmp_path / "arena-hard-v0.1"
    folder.mkdir()

    def compared(uid: str) -> None:
        row = {"uid": uid, "category": "arena-hard-v0.1", "prompt": "Why?"}
        (folder / "question.jsonl").write_text(json.dumps(row) + "\n")
        kind, one = task_kind("arena-hard"), judged(task("arena_hard_v0.1"), JUDGE)
        answers = [AnsweredTwice("1", ("So.",), ("Thus.",))]
        kind.judged_by(Equal()).compare(one, answers, Words(), seed=0, data_dir=tmp_path)

    class Words:
        def encode(self, text: str, *, special: bool = True) -> list[str]:
            return text.split()

    follow("was answered, and is not there", mistake=lambda: compared("2"), remedy=lambda: compared("1"))


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
