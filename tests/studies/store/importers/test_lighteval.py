"""LightEval's details in the two forms that its source writes; no file here was made by LightEval itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from whichbits.core.errors import UserError
from whichbits.studies.imported.accuracy import refuse_differences
from whichbits.studies.store.importers.registry import read

DATE = "2026-01-02T10-00-00.000001"
TASK = "leaderboard|arc:challenge|25"


def newer(right: list[bool], shots: int = 25) -> list[dict[str, Any]]:
    return [
        {
            "doc": {"query": f"Question {i}", "choices": [" A", " B", " C", " D"], "gold_index": [1], "instruction": None,
                    "num_asked_few_shots": shots, "generation_size": 1, "task_name": TASK},
            "metric": {"acc": int(one), "acc_norm": int(not one)},
            "model_response": {"input": f"shots, then question {i}", "text": [" B"], "output_tokens": [[5]]},
        }
        for i, one in enumerate(right)
    ]  # fmt: skip


def older(right: list[bool], shots: int = 25) -> list[dict[str, Any]]:
    return [
        {
            "example": f"Question {i}", "instruction": "", "full_prompt": f"shots, then question {i}",
            "num_effective_few_shots": shots, "num_asked_few_shots": shots, "predictions": ["[-1.0, -2.0]"],
            "choices": [" A", " B", " C", " D"], "gold": [" B"], "gold_index": [1],
            "metrics": {"acc": int(one), "acc_norm": int(not one)},
        }
        for i, one in enumerate(right)
    ]  # fmt: skip


def write(folder: Path, rows: list[dict[str, Any]], *, results: dict[str, Any] | None = None, task: str = TASK) -> Path:
    details = folder / "details" / "org" / "m" / DATE
    details.mkdir(parents=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), details / f"details_{task}_{DATE}.parquet")
    if results is not None:
        (folder / "results" / "org" / "m").mkdir(parents=True)
        (folder / "results" / "org" / "m" / f"results_{DATE}.json").write_text(json.dumps(results), encoding="utf-8")
    return folder


def results(version: int = 0, **general: Any) -> dict[str, Any]:
    return {
        "config_general": {"lighteval_sha": "877c5e", "max_samples": None, "model_name": "org/m",
                           "model_config": {"dtype": "bfloat16", "generation_parameters": {"temperature": 0.0}}, **general},
        "versions": {TASK: version}, "config_tasks": {TASK: {"num_fewshots": 25}},
    }  # fmt: skip


RIGHT = [True, False, True, True]


@pytest.mark.parametrize("form", [newer, older])
def test_both_forms_say_the_same(tmp_path: Path, form: Any) -> None:
    run = read(write(tmp_path, form(RIGHT), results=results()), "acc")
    (task,) = run.tasks
    assert (run.tool, run.model, task.name, task.metric) == ("lighteval", "org/m", "leaderboard:arc:challenge:25", "acc")
    assert [item.score for item in task.items] == [1.0, 0.0, 1.0, 1.0]
    assert task.chance == 0.25
    assert run.unknown == ()


def test_the_usual_metric_of_a_choice_is_the_normalized_one(tmp_path: Path) -> None:
    assert read(write(tmp_path, newer(RIGHT))).tasks[0].metric == "acc_norm"


def test_several_samples_are_averaged(tmp_path: Path) -> None:
    rows = newer(RIGHT)
    for row in rows:
        row["metric"] = {"extractive_match": [1, 0, 0, 0]}
    (task,) = read(write(tmp_path, rows)).tasks
    assert ([item.score for item in task.items], task.chance) == ([0.25] * 4, 0.0)


def test_without_the_runs_settings_it_says_so(tmp_path: Path) -> None:
    run = read(write(tmp_path, newer(RIGHT)))
    assert run.model == "m"
    assert run.unknown


@pytest.mark.parametrize(
    ("rows", "stated", "said"),
    [
        (newer(RIGHT, shots=5), results(), "num_asked_few_shots differs: [25] in"),
        (newer(RIGHT), results(version=1), "version differs: 0 in"),
        (newer(RIGHT), results(lighteval_sha="other"), "from: lighteval_sha differs: 877c5e in"),
        (newer(RIGHT), results(model_config={"dtype": "float16"}), "from: dtype differs: bfloat16 in"),
        (newer(RIGHT[:3]), results(), "1 items are in one run alone, first 3 in"),
        (older(RIGHT), results(), "prompt of item 0 differs"),
    ],
)
def test_what_differs_is_refused(tmp_path: Path, rows: Any, stated: Any, said: str) -> None:
    base = read(write(tmp_path / "base", newer(RIGHT), results=results()))
    with pytest.raises(UserError) as raised:
        refuse_differences(base, read(write(tmp_path / "candidate", rows, results=stated)))
    assert said in str(raised.value)


def test_metrics_as_text_are_refused(tmp_path: Path) -> None:
    rows = [{name: str(value) for name, value in row.items()} for row in older(RIGHT)]
    with pytest.raises(UserError, match="holds its metrics as text"):
        read(write(tmp_path, rows))


@pytest.mark.parametrize("key", [TASK, TASK.rpartition("|")[0]])
@pytest.mark.parametrize(
    ("asked", "score", "said"),
    [
        (4, 0.75, None),
        (-1, 0.75, None),
        (8, 0.75, r"tells of 8 samples of .*, and 4 are there"),
        (4, 0.5, r"tells of a score of 0\.5 of .*, and its samples have 0\.75"),
    ],
)
def test_a_part_of_the_items_is_refused(tmp_path: Path, key: str, asked: int, score: float, said: str | None) -> None:
    own = {**results(), "config_tasks": {key: {"effective_num_docs": asked}}, "results": {TASK: {"acc": score}}}
    folder = write(tmp_path, newer(RIGHT), results=own)
    if said is None:
        assert len(read(folder, "acc").tasks[0].items) == 4
    else:
        with pytest.raises(UserError, match=said):
            read(folder, "acc")


def test_tasks_that_are_configured_otherwise_are_refused(tmp_path: Path) -> None:
    runs = []
    for name, hf_subset in (("a", "x"), ("b", "y")):
        own = {**results(), "config_tasks": {TASK.rpartition("|")[0]: {"hf_subset": hf_subset}}}
        runs.append(read(write(tmp_path / name, newer(RIGHT), results=own)))
    with pytest.raises(UserError, match="task differs: "):
        refuse_differences(*runs)


def test_two_runs_in_one_folder_are_refused(tmp_path: Path) -> None:
    folder = write(tmp_path, newer(RIGHT))
    file = next(folder.rglob("*.parquet"))
    (file.parent / file.name.replace("2026", "2027")).write_bytes(file.read_bytes())
    with pytest.raises(UserError, match="2 runs of LightEval"):
        read(folder)
