"""Remedies of tasks that are answered by programs."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from whichbits.accuracy.answers import generate_answers
from whichbits.accuracy.code import mbpp
from whichbits.accuracy.code.mbpp import Base, Sanitized
from whichbits.accuracy.kinds.registry import task_kind
from whichbits.accuracy.problem_files import rows
from whichbits.accuracy.registry import task
from whichbits.accuracy.task import Task
from whichbits.accuracy.tokens import PromptTokenizer

ROW = {"prompt": "Add.", "code": "def f(a):\n    return a\n", "test_imports": [], "test_list": ["assert f(1) == 1"]}
PLUS = {"task_id": "Mbpp/2", "prompt": '"""\nAdd.\n"""', "entry_point": "f", "canonical_solution": ROW["code"],
        "base_input": [[1]], "plus_input": [], "atol": 0, "contract": ""}  # fmt: skip


class Silent:
    max_length = 100

    def generate(self, prompts: Any, **_: Any) -> Any:
        return []


def write(file: Path, found: object) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(found))
    return file


def test_files_of_problems(follow: Any, tmp_path: Path):
    kind = task_kind("mbpp")
    name = "sanitized-mbpp.json"
    examples = [{**ROW, "task_id": number} for number in (2, 3, 4, 11)]
    first = write(tmp_path / "a" / name, examples)
    follow(
        "are read from a local directory",
        mistake=lambda: kind.data_files(task("mbpp"), None),
        remedy=lambda: kind.data_files(task("mbpp"), tmp_path),
    )
    follow(
        "{data_dir} has no",
        mistake=lambda: kind.data_files(task("mbpp"), tmp_path / "nothing"),
        remedy=lambda: kind.data_files(task("mbpp"), first.parent),
    )
    second = write(tmp_path / "b" / name, examples)
    follow(
        "are in {found} and in",
        mistake=lambda: kind.data_files(task("mbpp"), tmp_path),
        remedy=lambda: (second.unlink(), kind.data_files(task("mbpp"), tmp_path)),
    )
    write(first, examples[1:])
    follow(
        "has no problem",
        mistake=lambda: mbpp.mbpp(tmp_path),
        remedy=lambda: (write(first, examples), mbpp.mbpp(tmp_path)),
    )
    follow(
        "is not a list of problems",
        mistake=lambda: rows(write(tmp_path / "x.json", {}), Sanitized),
        remedy=lambda: rows(first, Sanitized),
    )
    packed = tmp_path / "p.jsonl.gz"
    packed.write_bytes(b"{}")
    follow(
        "cannot be unpacked",
        mistake=lambda: rows(packed, Base),
        remedy=lambda: (packed.write_bytes(gzip.compress(b'{"task_id": 1}\n')), rows(packed, Base)),
    )


def test_types_of_inputs(follow: Any, tmp_path: Path):
    (tmp_path / "MbppPlus.jsonl").write_text(json.dumps(PLUS) + "\n")
    base = tmp_path / "MbppBase.jsonl"
    follow(
        "has no assertion of problem",
        mistake=lambda: mbpp.mbpp_plus(tmp_path),
        remedy=lambda: (
            base.write_text(json.dumps({"task_id": 2, "assertion": "assert f(1) == 1"}) + "\n"),
            mbpp.mbpp_plus(tmp_path),
        ),
    )


def test_source_and_length(follow: Any, tiny_llama: Path):
    kind, whole = task_kind("mbpp"), task("mbpp")
    other = Task.model_validate({**whole.model_dump(), "source": "apps"})
    raised = follow("is none of kind", mistake=lambda: kind.check(other), remedy=lambda: kind.check(whole))
    for source in raised.remedy.removeprefix("choose from ").split(", "):
        kind.check(whole.model_copy(update={"source": source}))
    tokenizer = PromptTokenizer(tiny_llama)

    def ask(**change: Any) -> None:
        generate_answers(whole.model_copy(update=change), Silent(), tokenizer, ["Why?"], seed=0)

    follow("sets no limit on the answer", mistake=lambda: ask(max_tokens=None), remedy=lambda: ask(max_tokens=64))
    with pytest.raises(Exception, match="longer than"):
        ask(max_tokens=512)
