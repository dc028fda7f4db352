"""Remedies of problems of mathematics."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("math_verify")

from whichbits.accuracy.kinds import gpqa
from whichbits.accuracy.kinds.mathematics import judge, questions
from whichbits.accuracy.kinds.registry import task_kind
from whichbits.accuracy.registry import task
from whichbits.core.errors import UserError


def test_problems(follow: Any, tmp_path: Path):
    file = tmp_path / "aime24" / "test.jsonl"
    file.parent.mkdir()
    file.write_text(json.dumps({"problem": "1 + 1?"}) + "\n")

    def mend() -> None:
        file.write_text(json.dumps({"problem": "1 + 1?", "answer": "2"}) + "\n")
        questions("aime24", tmp_path)

    follow("{where}: {field} is not as it should be", mistake=lambda: questions("aime24", tmp_path), remedy=mend)
    for number in ("NaN", "Infinity", "1e999", "null"):
        file.write_text(f'{{"problem": "1 + 1?", "answer": {number}}}\n')
        follow("{where}: {field} is not as it should be", mistake=lambda: questions("aime24", tmp_path), remedy=mend)
    table = tmp_path / "gpqa_diamond.csv"
    names = ("Record ID", "Question", "Correct Answer", *(f"Incorrect Answer {number}" for number in (1, 2, 3)))
    table.write_text(",".join(names) + '\n1,"a?,b,c,d,e\n')

    def download() -> None:
        table.write_text(",".join(names) + "\n1,a?,b,c,d,e\n")
        gpqa.questions(tmp_path)

    follow("is not CSV", mistake=lambda: gpqa.questions(tmp_path), remedy=download)
    kind, whole = task_kind("mathematics"), task("aime24")
    raised = follow(
        "is none of kind",
        mistake=lambda: kind.check(whole.model_copy(update={"source": "imo"})),
        remedy=lambda: kind.check(whole),
    )
    for source in raised.remedy.removeprefix("choose from ").split(", "):
        kind.check(whole.model_copy(update={"source": source}))


def test_math_verify_is_not_installed(follow: Any, monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "math_verify", None)
        with pytest.raises(UserError) as raised:
            judge("1", "1")

    def again() -> None:
        raise raised.value

    follow("need the package math-verify", mistake=again, remedy=lambda: judge("1", "1"))
