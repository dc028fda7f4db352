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
    ],
)
def test_what_cannot_be_compared_is_refused(tmp_path: Path, bad: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        read(as_json(tmp_path, bad))


def test_an_archive_that_is_none_or_did_not_end(tmp_path: Path) -> None:
    (tmp_path / "log.eval").write_bytes(b"no archive")
    with pytest.raises(UserError, match="is no archive"):
        read(tmp_path / "log.eval")
    with zipfile.ZipFile(tmp_path / "log.eval", "w") as archive:
        archive.writestr("_journal/start.json", "{}")
    with pytest.raises(UserError, match=r"has no header\.json"):
        read(tmp_path / "log.eval")
