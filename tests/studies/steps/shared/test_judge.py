"""A judge in a specification: part of the plan, said before a run, refused where it does not belong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from whichbits.core.errors import UserError
from whichbits.studies.planning.planner import Expansion
from whichbits.studies.specification.schema import parse
from whichbits.studies.store.store import Store
from whichbits.studies.study import preview

pytest.importorskip("torch")

TEXT = """\
version: 1
name: small
model: {model}
candidates:
  - {{format: w8a8-int, run: emulated}}
tasks:
  - order
  - {{name: arena_hard_v0.1, limit: 2, judge: {{url: "{url}", model: referee, prompt_price: 2, output_price: 8}}}}
base_repeats: 1
"""


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "data" / "arena-hard-v0.1"
    (folder / "model_answer").mkdir(parents=True)
    asked = [{"uid": str(n), "category": "arena-hard-v0.1", "prompt": f"Why {n}?"} for n in range(3)]
    answers = [{"uid": str(n), "messages": [{"role": "assistant", "content": "So."}]} for n in range(3)]
    (folder / "question.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asked))
    (folder / "model_answer" / "gpt-4-0314.jsonl").write_text("".join(json.dumps(row) + "\n" for row in answers))
    return tmp_path / "data"


def expansion(model: Path, data_dir: Path, url: str = "http://judge:1", *changes: tuple[str, str]) -> Expansion:
    text = TEXT.format(model=model, url=url)
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return Expansion(*parse(text, "small.yaml"), data_dir=data_dir, ask_servers=False)


def test_the_address_of_the_judge_is_no_part_of_the_key(tiny_llama: Path, data_dir: Path) -> None:
    found = [
        [planned.step for planned in made.plan().steps if planned.step.labels.task == "arena_hard_v0.1"]
        for made in (
            expansion(tiny_llama, data_dir),
            expansion(tiny_llama, data_dir, "https://other", ("prompt_price: 2", "prompt_price: 3")),
            expansion(tiny_llama, data_dir, "http://judge:1", ("model: referee", "model: another")),
        )
    ]
    first, moved, other = ([step.key for step in steps] for steps in found)
    assert len(first) == 2
    assert first == moved
    assert not set(first) & set(other)
    assert "judge:1" not in found[0][0].inputs.model_dump_json()
    assert found[0][0].local.task.judging.url == "http://judge:1"


def test_what_judging_takes_is_said_before_it_starts(tiny_llama: Path, data_dir: Path, tmp_path: Path) -> None:
    text = preview(expansion(tiny_llama, data_dir), Store(tmp_path / "store"), {}).text
    # Two questions, twice in both orders, of two models.
    assert text.count("arena_hard_v0.1: 8 judgments by referee: about") == 2
    assert "bf16, arena_hard_v0.1" in text and "at most 32,768 to write, at most $0." in text


def test_a_judge_where_it_belongs(tiny_llama: Path, data_dir: Path) -> None:
    with pytest.raises(UserError, match=r"line 8.*no judge is named"):
        expansion(
            tiny_llama,
            data_dir,
            "http://a",
            (', judge: {url: "http://a", model: referee, prompt_price: 2, output_price: 8}', ""),
        ).plan()
    with pytest.raises(UserError, match=r"line 7.*order are not judged"):
        expansion(tiny_llama, data_dir, "http://a", ("- order", "- {name: order, judge: {url: http://a, model: m}}")).plan()
