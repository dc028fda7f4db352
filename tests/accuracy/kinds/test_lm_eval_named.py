"""A task or group of lm-evaluation-harness by its name; nothing is loaded before it runs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from whichbits.accuracy.evaluate import evaluate
from whichbits.accuracy.kinds import lm_eval
from whichbits.accuracy.kinds.lm_eval_index import definition, members
from whichbits.accuracy.kinds.registry import task_kind
from whichbits.accuracy.registry import task, task_names
from whichbits.accuracy.task import Task, TaskRequest
from whichbits.core.errors import UserError

pytest.importorskip("lm_eval")


def define(source: str, **more: object) -> Task:
    return task_kind("lm-eval").define(replace(TaskRequest(source, source), **more))


def test_the_metric_is_the_first_from_0_to_1() -> None:
    assert {name: define(name).metric for name in ("boolq", "arc_easy", "gsm8k", "mmlu", "ai2_arc")} == {
        "boolq": "acc", "arc_easy": "acc", "gsm8k": "exact_match", "mmlu": "acc", "ai2_arc": "acc",
    }  # fmt: skip
    chosen = define("arc_easy", metric="acc_norm", num_fewshot=3)
    assert (chosen.metric, chosen.num_fewshot, chosen.name) == ("acc_norm", 3, "arc_easy")


@pytest.mark.parametrize(
    ("source", "more", "problem", "remedy"),
    [
        ("arc_esy", {}, "no task 'arc_esy'", "arc_easy"),
        ("arc_easy", {"metric": "f1"}, "no metric 'f1'", "choose from acc, acc_norm"),
        ("truthfulqa_gen", {}, "is not known", "bleu_acc"),
        ("leaderboard", {}, "of all its members", "leaderboard_"),
        ("gsm8k", {"filter": "strict"}, "no filter 'strict'", "strict-match, flexible-extract"),
        ("gsm8k", {"stop": ("x",)}, "stop:", "num_fewshot"),
        ("wikitext", {}, "perplexity", "distributions"),
        ("humaneval", {}, "outside a sandbox", "humaneval"),
        ("wmt16-en-de", {}, "an average over the items", "choose another task"),
        ("mmmu_val", {}, "pictures or sound", "text alone"),
    ],
)
def test_what_cannot_be_scored_is_refused(source: str, more: dict[str, object], problem: str, remedy: str) -> None:
    with pytest.raises(UserError) as raised:
        define(source, **more)
    assert problem in raised.value.message
    assert remedy in str(raised.value.remedy)


def test_the_members_are_those_that_the_harness_loads() -> None:
    index = lm_eval._manager().task_index
    assert [one.name for one in members("ai2_arc", index)] == ["arc_challenge", "arc_easy"]
    assert len(members("mmlu", index)) == 57
    assert all(member.replaceable for name in task_names() if task(name).kind == "lm-eval"
               for member in members(task(name).source, index))  # fmt: skip


def test_the_definition_has_what_can_change_a_score(monkeypatch: pytest.MonkeyPatch) -> None:
    index = lm_eval._manager().task_index
    found = members("arc_easy", index)
    assert define("arc_easy").definition == definition(found) != define("arc_challenge").definition
    other = (replace(found[0], config={**found[0].config, "doc_to_text": "{{question}}"}),)
    assert definition(other) != definition(found)
    planned = define("arc_easy")
    monkeypatch.setattr("whichbits.accuracy.kinds.lm_eval_index.version", lambda _: "0.0.1")
    assert definition(found) != planned.definition
    with pytest.raises(UserError, match="another way"):
        task_kind("lm-eval").check(planned)


def test_a_shipped_tasks_key_has_no_definition() -> None:
    assert "definition" not in task("arc_easy").model_dump(mode="json")
    assert Task.model_validate(define("arc_easy").model_dump(mode="json")) == define("arc_easy")


def test_a_named_task_is_scored_from_local_files(tmp_path: Path, tiny_llama: Path, plain_tiny) -> None:
    for split in ("train", "validation", "test"):
        file = tmp_path / "ai2_arc" / "ARC-Easy" / f"{split}.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        rows = [{"question": f"{n}?", "choices": {"text": ["a", "b"], "label": ["A", "B"]}, "answerKey": "A"} for n in range(3)]
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = evaluate(define("arc_easy"), plain_tiny, tiny_llama, data_dir=tmp_path, limit=2)
    assert (result.summary.n, result.summary.available, result.summary.chance) == (2, 3, 0.5)
