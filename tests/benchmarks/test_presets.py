"""The presets, made small: what of them is asked where data are there, where they are not, and where some are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("lm_eval")

from benchmarks.presets import asked, small
from whichbits.accuracy.registry import expand
from whichbits.studies.specification.schema import Specification, TaskChoice, parse, presets


def entries(name: str, folder: Path) -> list[TaskChoice]:
    """What is asked for a task of the paper's preset."""
    specification, _ = parse(presets()["paper-llama-3.1-8b"], "8b")
    choices = {task.name: (task, choice) for choice in specification.tasks for task in expand([choice.name])}
    return list(asked(*choices[name], 2, folder))


def test_a_task_without_its_data_is_left_out_and_ruler_asks_what_it_makes_itself(tmp_path: Path) -> None:
    assert entries("hellaswag", tmp_path) == entries("leaderboard_gpqa", tmp_path) == []
    assert entries("ruler_4k", tmp_path) == [TaskChoice(name="ruler_synthetic_4k", limit=2)]
    assert entries("ruler_128k", tmp_path) == []


def test_of_a_group_those_are_asked_whose_data_are_there(tmp_path: Path) -> None:
    for subject in ("astronomy", "virology"):
        folder = tmp_path / "mmlu_no_train" / subject
        folder.mkdir(parents=True)
        for split in ("dev", "test"):
            (folder / f"{split}.jsonl").write_text(json.dumps({"question": "?", "choices": [*"abcd"], "answer": 0}))
    found = entries("mmlu_llama", tmp_path)
    assert {one.name for one in found} == {"mmlu_llama_virology", "mmlu_llama_astronomy"}
    assert {(one.num_fewshot, one.chat_template, one.filter) for one in found} == {(5, True, "strict_match")}


@pytest.mark.parametrize("name", sorted(set(presets()) - {"demo"}))
def test_the_preset_is_kept_but_for_its_size(name: str, tmp_path: Path) -> None:
    whole, _ = parse(presets()[name], name)
    made = small(name, tmp_path, 2, tmp_path)
    assert isinstance(made, Specification)
    assert [(one.name, one.format, one.run) for one in made.candidates] == [
        (one.name, one.format, one.run) for one in whole.candidates
    ]
    assert [mode.name for mode in made.modes] == [mode.name for mode in whole.modes]
    assert [entry["name"] for entry in made.workloads] == [entry["name"] for entry in whole.workloads]
    assert {choice.limit for choice in made.tasks} <= {2}
    assert made.rounds == 1
