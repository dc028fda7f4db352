"""Inspect's logs in the two forms that its source writes; no file here was made by Inspect itself."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from whichbits.core.errors import UserError
from whichbits.studies.imported.accuracy import refuse_differences
from whichbits.studies.store.importers.registry import read


def sample(number: int, value: Any, *, epoch: int = 1, scorer: str = "choice", asked: str = "Which one?") -> dict[str, Any]:
    return {
        "id": number, "epoch": epoch, "input": f"Question {number}", "choices": ["a", "b", "c", "d"], "target": "B",
        "messages": [
            {"role": "system", "content": "Be brief."}, {"role": "user", "content": f"{asked} {number}"},
            {"role": "assistant", "content": f"the answer of {value}"},
        ],
        "scores": {scorer: {"value": value, "answer": "B"}},
    }  # fmt: skip


def log(samples: list[dict[str, Any]], *, status: str = "success", **spec: Any) -> dict[str, Any]:
    evaluation = {
        "task": "arc", "task_version": 1, "task_args": {"fewshot": 5}, "model": "vllm/org/m", "dataset": {"name": "arc"},
        "model_generate_config": {"temperature": 0.0, "max_connections": 8}, "config": {"limit": 4, "epochs": 1},
        "packages": {"inspect_ai": "0.3.150"}, **spec,
    }  # fmt: skip
    plan = {"name": "plan", "steps": [{"solver": "multiple_choice", "params": {}}], "config": {}}
    return {"version": 2, "status": status, "eval": evaluation, "plan": plan, "samples": samples}


def as_json(folder: Path, log: dict[str, Any]) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "log.json").write_text(json.dumps(log, indent=2), encoding="utf-8")
    return folder / "log.json"


def as_archive(folder: Path, log: dict[str, Any]) -> Path:
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / "log.eval", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("_journal/start.json", "{}")
        archive.writestr("header.json", json.dumps({name: value for name, value in log.items() if name != "samples"}))
        for one in log["samples"]:
            archive.writestr(f"samples/{one['id']}_epoch_{one['epoch']}.json", json.dumps(one))
    return folder / "log.eval"


SAMPLES = [sample(1, "C"), sample(2, "I"), sample(3, "P"), sample(4, "N")]


@pytest.mark.parametrize("write", [as_json, as_archive])
def test_both_forms_say_the_same(tmp_path: Path, write: Any) -> None:
    run = read(write(tmp_path, log(SAMPLES)))
    (task,) = run.tasks
    assert (run.tool, run.model, run.engine, task.name, task.metric) == ("inspect", "vllm/org/m", "vllm", "arc", "choice")
    assert [item.score for item in task.items] == [1.0, 0.0, 0.5, 0.0]
    assert task.chance == 0.25


@pytest.mark.parametrize(("value", "score"), [(True, 1.0), (0.25, 0.25), ("yes", 1.0), ("0.5", 0.5), ("false", 0.0)])
def test_values_count_as_inspect_counts_them(tmp_path: Path, value: Any, score: float) -> None:
    assert read(as_json(tmp_path, log([sample(1, value, scorer="match")]))).tasks[0].items[0].score == score


def test_epochs_are_averaged(tmp_path: Path) -> None:
    (task,) = read(as_json(tmp_path, log([sample(1, "C"), sample(1, "I", epoch=2), sample(1, "C", epoch=3)]))).tasks
    assert [item.score for item in task.items] == [pytest.approx(2 / 3)]


def test_a_folder_of_logs_is_a_run_of_several_tasks(tmp_path: Path) -> None:
    as_archive(tmp_path, log(SAMPLES))
    as_json(tmp_path, log(SAMPLES, task="gsm8k"))
    assert [task.name for task in read(tmp_path).tasks] == ["arc", "gsm8k"]
    (tmp_path / "again.json").write_text((tmp_path / "log.json").read_text())
    with pytest.raises(UserError, match="several logs of one task"):
        read(tmp_path)


def test_concurrency_is_no_difference(tmp_path: Path) -> None:
    other = log(SAMPLES, model_generate_config={"temperature": 0.0, "max_connections": 1})
    refuse_differences(read(as_json(tmp_path / "a", log(SAMPLES))), read(as_json(tmp_path / "b", other)))


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (log(SAMPLES, task_version=2), "from: arc: task_version differs: 1 in"),
        (log(SAMPLES, task_args={"fewshot": 0}), 'from: arc: task_args differs: {"fewshot": 5} in'),
        (log(SAMPLES, model_generate_config={"temperature": 1.0}), "from: arc: generate config differs: "),
        (log(SAMPLES, model="hf/org/m"), 'from: model provider differs: ["vllm"] in'),
        (log(SAMPLES, packages={"inspect_ai": "0.3.9"}), "from: inspect_ai differs: "),
        (log(SAMPLES[:3]), "from: arc: 1 items are in one run alone, first 4 in"),
        (log([*SAMPLES[:3], sample(4, "C", asked="Which, with thought?")]), "from: arc: prompt of item 4 differs: "),
        (log([sample(n, "C", scorer="match") for n in range(1, 5)]), 'from: arc: scorers differs: ["choice"] in'),
    ],
)
def test_what_differs_is_refused(tmp_path: Path, other: dict[str, Any], said: str) -> None:
    base = read(as_json(tmp_path / "base", log(SAMPLES)))
    with pytest.raises(UserError) as raised:
        refuse_differences(base, read(as_json(tmp_path / "candidate", other)))
    assert str(raised.value).startswith(said)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (log(SAMPLES, status="error"), "ended as 'error'"),
        (log([]), "has no samples"),
        (log([{**SAMPLES[0], "error": {"message": "lost"}}]), "ended in an error"),
        (log([sample(1, {"a": 1})]), "choice of arc gives"),
        (log([sample(1, float("nan"))]), "choice of arc gives nan"),
        (log([*SAMPLES, SAMPLES[2]]), "has a sample 3 twice in an epoch"),
        (log([*SAMPLES, {name: value for name, value in SAMPLES[2].items() if name != "epoch"}]), "has a sample 3 twice"),
    ],
)
def test_what_cannot_be_compared_is_refused(tmp_path: Path, bad: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        read(as_json(tmp_path, bad))


def with_results(samples: list[dict[str, Any]], completed: int, score: Any = None, **more: Any) -> dict[str, Any]:
    scores = (
        [] if score is None else [{"name": "choice", "scorer": "choice", "metrics": {"accuracy": {"value": score}}, **more}]
    )
    results = {"total_samples": completed, "completed_samples": completed, "scores": scores}
    return {**log(samples), "results": results}


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (with_results(SAMPLES[:2], 4), "tells of 4 samples of arc, and 2 are there"),
        (with_results([*SAMPLES, *(sample(n, "C", epoch=2) for n in (1, 2))], 8), "tells of 8 samples of arc, and 6 are"),
        (log(SAMPLES, config={}, dataset={"samples": 8}), "tells of 8 samples of arc, and 4 are there"),
        (with_results(SAMPLES, 4, 0.75), r"tells of a score of 0\.75 of arc, and its samples have 0\.375"),
    ],
)
@pytest.mark.parametrize("write", [as_json, as_archive])
def test_a_part_of_the_samples_is_refused(tmp_path: Path, part: dict[str, Any], said: str, write: Any) -> None:
    with pytest.raises(UserError, match=said):
        read(write(tmp_path, part))


@pytest.mark.parametrize(
    "whole",
    [
        with_results(SAMPLES, 4, 0.375),
        with_results(SAMPLES, 0),  # a converted log of before the counts
        with_results(SAMPLES, 4, 0.75, reducer="max"),
        log(SAMPLES, config={"limit": 4}, dataset={"samples": 8}),
        log([*SAMPLES, *(sample(n, "C", epoch=2) for n in range(1, 5))], config={"epochs": 2}, dataset={"samples": 4}),
    ],
)
def test_limits_epochs_and_reducers_are_no_part(tmp_path: Path, whole: dict[str, Any]) -> None:
    assert len(read(as_json(tmp_path, whole)).tasks[0].items) == 4


def test_an_archive_with_damaged_bytes(tmp_path: Path) -> None:
    file = as_archive(tmp_path, log(SAMPLES))
    whole = file.read_bytes()
    with zipfile.ZipFile(file) as archive:
        places = [entry.header_offset + 30 + len(entry.filename) for entry in archive.infolist()]
    for place in places[1:]:  # the header's, and each sample's packed bytes
        file.write_bytes(whole[:place] + bytes(byte ^ 0x5A for byte in whole[place : place + 20]) + whole[place + 20 :])
        with pytest.raises(UserError, match=r"holds a damaged (header\.json|samples/\d_epoch_1\.json)"):
            read(file)
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="is no archive"):
        read(file)


def test_an_archive_that_is_none_or_did_not_end(tmp_path: Path) -> None:
    (tmp_path / "log.eval").write_bytes(b"no archive")
    with pytest.raises(UserError, match="is no archive"):
        read(tmp_path / "log.eval")
    with zipfile.ZipFile(tmp_path / "log.eval", "w") as archive:
        archive.writestr("_journal/start.json", "{}")
    with pytest.raises(UserError, match=r"has no header\.json"):
        read(tmp_path / "log.eval")
