"""A judge in a specification: part of the plan, said before a run, refused where it does not belong."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from whichbits.core.errors import UserError
from whichbits.studies.planning.planner import Expansion
from whichbits.studies.preview import preview
from whichbits.studies.specification.judge import JudgeChoice
from whichbits.studies.specification.schema import parse, presets
from whichbits.studies.store.store import Store
from whichbits.studies.study import manifest_of

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


OF_STUDY = 'base_repeats: 1\njudge: {url: "http://own:1", model: own, prompt_price: 1, output_price: 1, against_base: true}'
WITHOUT = (', judge: {{url: "{url}", model: referee, prompt_price: 2, output_price: 8}}'.format(url="http://judge:1"), "")
SKIPPED = (WITHOUT[0], ", skip_without_judge: true")


def test_a_comparison_with_the_base_is_a_step_of_each_candidate(tiny_llama: Path, data_dir: Path, tmp_path: Path) -> None:
    without = expansion(tiny_llama, data_dir, "http://judge:1", ("output_price: 8", "output_price: 8, rounds: 1"))
    added = ("output_price: 8", "output_price: 8, rounds: 1, against_base: true")
    made = expansion(tiny_llama, data_dir, "http://judge:1", added)
    before, after = ({one.step.key: one for one in each.plan().steps} for each in (without, made))
    (new,) = (after[key] for key in set(after) - set(before))
    assert set(before) < set(after)
    labels, reads = new.step.labels, new.reads
    assert (new.step.kind, labels.candidate, labels.task, new.step.items) == ("judge", "w8a8-int", "arena_hard_v0.1", 2)
    assert {role: step.labels.candidate for role, step in reads.items()} == {"base": "bf16", "candidate": "w8a8-int"}
    assert not new.needs.compute and not new.needs.servers
    # Where the judge is, and its price, are no part of this key either.
    moved = expansion(tiny_llama, data_dir, "http://other", added, ("prompt_price: 2", "prompt_price: 3"))
    assert new.step.key in {one.step.key for one in moved.plan().steps}
    text = preview(made, Store(tmp_path / "store"), {}).text
    # Two questions, once in both orders, each with two answers of up to 4,096 tokens to read.
    assert "w8a8-int against the base, arena_hard_v0.1: 4 judgments by referee: about 32," in text
    assert "Together 12 judgments, at most $" in text


def test_the_command_line_comes_before_a_task_and_that_before_the_study(tiny_llama: Path, data_dir: Path) -> None:
    def judges(judge: JudgeChoice | None, *changes: tuple[str, str]) -> list[str]:
        made = replace(expansion(tiny_llama, data_dir, "http://judge:1", *changes), judge=judge)
        return [task.judging.model for task, _ in made.tasks if task.judging is not None]

    study, line = ("base_repeats: 1", OF_STUDY), JudgeChoice(url="http://line", model="line")
    assert judges(None, study, WITHOUT) == ["own"]
    assert judges(line) == judges(line, study, WITHOUT) == ["line"]
    with pytest.raises(UserError, match="no task of this study is judged by it"):
        judges(None, study)  # its one judged task has a judge of its own
    made = expansion(tiny_llama, data_dir, "http://judge:1", study, WITHOUT)
    assert [one.step.kind for one in made.plan().steps].count("judge") == 1


def test_a_task_that_may_be_is_left_out_without_a_judge(tiny_llama: Path, data_dir: Path, tmp_path: Path) -> None:
    made = expansion(tiny_llama, data_dir, "http://judge:1", SKIPPED)
    assert [task.name for task, _ in made.tasks] == ["order"]
    (note,) = made.left_out
    assert note.startswith("arena_hard_v0.1 is left out") and "--judge '{url: " in note
    assert note in preview(made, Store(tmp_path / "store"), {}).text
    assert note in manifest_of(made, made.plan(), {}, "", 0.0).notes
    named = replace(made, judge=JudgeChoice(url="http://line", model="line"))
    assert [task.name for task, _ in named.tasks] == ["order", "arena_hard_v0.1"]
    assert named.left_out == ()
    # Single steps of the study, run elsewhere, find its judge again.
    assert manifest_of(named, named.plan(), {}, "", 0.0).judge == named.judge


@pytest.mark.parametrize("name", [name for name, text in presets().items() if "arena" in text])
def test_the_papers_presets_are_judged_where_a_judge_is_named(name: str, tiny_llama: Path) -> None:
    specification, source = parse(presets()[name], name)
    chosen = specification.model_copy(update={"model": str(tiny_llama)})
    made = Expansion(chosen, source, ask_servers=False)
    named = replace(made, judge=JudgeChoice(url="https://api.openai.com", model="gpt-4-1106-preview"))
    assert [task.name for task, _ in named.tasks] == [*(task.name for task, _ in made.tasks), "arena_hard_v0.1"]
    assert (len(made.left_out), named.left_out) == (1, ())
    assert all("FP8" in note for note in specification.unavailable)


def test_four_presets_have_arena_hard() -> None:
    assert sum("arena_hard_v0.1" in text for text in presets().values()) == 4


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
