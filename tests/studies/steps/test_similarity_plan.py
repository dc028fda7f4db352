"""Which texts a study generates and compares."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from whichbits.core.errors import UserError
from whichbits.schema.generate import GenerateInputs
from whichbits.studies.planning.planner import Expansion
from whichbits.studies.specification.schema import parse
from whichbits.studies.steps.planned import Planned

pytest.importorskip("torch")

TEXT = """\
version: 1
name: texts
model: {model}
candidates:
  - {{format: w8a8-int, recipe: {{scales: minmax}}, run: served}}
similarity: {{{similarity}}}
{more}"""


def planned(
    model: Path, kind: str, similarity: str = "limit: 2", more: str = "", data_dir: Path | None = None
) -> list[Planned]:
    text = TEXT.format(model=model, similarity=similarity, more=more)
    expansion = Expansion(*parse(text, "texts.yaml"), data_dir=data_dir, ask_servers=False)
    return [one for one in expansion.plan().steps if one.step.kind == kind]


def test_the_base_answers_again_in_other_batches_and_is_compared_with_itself(tiny_llama: Path) -> None:
    first, again, candidate = planned(tiny_llama, "generate")
    assert [one.step.labels.candidate for one in (first, again, candidate)] == ["bf16", "bf16", "w8a8-int"]
    assert [one.step.labels.repeat for one in (first, again, candidate)] == [0, 1, 0]
    in_flight = [one.step.inputs_as(GenerateInputs).engine.concurrency for one in (first, again, candidate)]
    assert in_flight[1] == max(1, in_flight[0] // 2) < in_flight[0] == in_flight[2]
    against = [(one.reads["base"], one.reads["candidate"]) for one in planned(tiny_llama, "compare")]
    assert against == [(first.step, again.step), (first.step, candidate.step)]


def test_once_where_the_base_runs_once(tiny_llama: Path) -> None:
    alone = planned(tiny_llama, "generate", more="base_repeats: 1\n")
    assert [one.step.labels.candidate for one in alone] == ["bf16", "w8a8-int"]
    keys = {one.step.key for one in planned(tiny_llama, "generate")}
    assert {one.step.key for one in alone} < keys, "the first answers are the same steps"


def test_arena_hards_questions_by_name(tiny_llama: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"similarity\.prompts: arena-hard-v0.1 is read from the data directory"):
        planned(tiny_llama, "generate", "prompts: arena-hard-v0.1")
    folder = tmp_path / "arena-hard-v0.1"
    folder.mkdir()
    rows = [{"uid": name, "category": "x", "cluster": "y", "prompt": f"Why {name}?"} for name in "abc"]
    (folder / "question.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = planned(tiny_llama, "generate", "prompts: arena-hard-v0.1", data_dir=tmp_path)
    assert [prompt.id for prompt in found[0].step.inputs_as(GenerateInputs).prompts] == ["a", "b", "c"]
    assert {one.step.labels.prompts for one in found} == {"arena-hard-v0.1"}
