"""A kind of task that lives outside the package."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from whichbits.accuracy.documents import harness_task
from whichbits.accuracy.evaluate import evaluate
from whichbits.accuracy.kind import HarnessKind
from whichbits.accuracy.kinds import registry
from whichbits.accuracy.task import Task, TaskRequest
from whichbits.core.errors import UserError

KIND = """
from whichbits.accuracy.documents import harness_task
from whichbits.accuracy.kind import HarnessKind

class Sums(HarnessKind):
    name = "sums"
    metrics = ("acc",)
    reads_source = True

    def harness_tasks(self, task, *, seed, data_dir):
        return {}
"""


class Echo(HarnessKind):
    """Each item asks for one of the letters that the source spells."""

    name = "echo"
    metrics = ("acc",)
    version = 3
    options = ("metric",)

    def harness_tasks(self, task: Task, *, seed: int, data_dir: Path | None) -> dict[str, Any]:
        rows = [
            {"prompt": f"{letter} {letter}", "choices": list(task.source), "answer": index}
            for index, letter in enumerate(task.source)
        ]
        return {task.name: harness_task(task, rows)}


@pytest.fixture
def apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "KINDS", replace(registry.KINDS, _registered={}, _loaded={}))


def test_a_registered_kind_is_scored(apart: None, tiny_llama: Path, plain_tiny) -> None:
    pytest.importorskip("lm_eval")
    registry.register(Echo())
    task = registry.task_kind("echo").define(TaskRequest("letters", "abcd"))
    result = evaluate(task, plain_tiny, tiny_llama)
    assert (result.summary.kind, result.summary.n, result.summary.chance) == ("echo", 4, 0.25)
    assert task.version == result.summary.version == 3
    assert [item.target for item in result.items] == list("abcd")
    assert all(item.score == float(item.prediction == item.target) for item in result.items)


def test_a_kind_checks_what_is_asked_of_it(apart: None) -> None:
    registry.register(Echo())
    echo = registry.task_kind("echo")
    with pytest.raises(UserError, match="num_fewshot"):
        echo.define(TaskRequest("letters", "abcd", num_fewshot=2))
    with pytest.raises(UserError, match="metric: 'f1'") as raised:
        echo.define(TaskRequest("letters", "abcd", metric="f1"))
    assert "acc" in str(raised.value.remedy)


def test_an_installed_package_adds_a_kind(apart: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "outside_sums.py").write_text(KIND)
    package = tmp_path / "outside_sums-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: outside-sums\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text(f"[{registry.GROUP}]\nsums = outside_sums:Sums\nwrong = outside_sums:KIND\n")
    (tmp_path / "outside_sums.py").write_text(KIND + "\nKIND = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "sums" in registry.KINDS.names()
    assert registry.task_kind("sums").reads_source
    with pytest.raises(UserError, match="is no TaskKind"):
        registry.task_kind("wrong")


def test_names_are_unknown_or_taken(apart: None) -> None:
    with pytest.raises(UserError, match="no kind of task 'other'") as raised:
        registry.task_kind("other")
    assert "jsonl" in str(raised.value.remedy)
    registry.register(Echo())
    with pytest.raises(UserError, match="'echo' already"):
        registry.register(Echo())


def test_every_kind_of_the_package_says_its_own_name() -> None:
    assert {registry.task_kind(name).name for name in registry.KINDS.ours} == set(registry.KINDS.ours)
