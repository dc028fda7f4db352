"""Remedies of kinds of tasks, and of tasks of lm-evaluation-harness by name."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lm_eval")

from whichbits.accuracy.kinds import lm_eval, registry
from whichbits.accuracy.kinds.jsonl import Jsonl
from whichbits.accuracy.kinds.lm_eval_index import Member
from whichbits.accuracy.kinds.registry import task_kind
from whichbits.accuracy.registry import task
from whichbits.accuracy.run_lm_eval import _score
from whichbits.accuracy.task import Task, TaskRequest
from whichbits.core import entry_points
from whichbits.core.errors import UserError


def define(source: str, **more: Any) -> Task:
    return task_kind("lm-eval").define(replace(TaskRequest(source, source), **more))


def check(name: str, **change: Any) -> None:
    one = task(name).model_copy(update=change)
    task_kind(one.kind).check(one)


def test_fields_that_do_not_fit_a_kind(follow: Any):
    follow("is stated for task", mistake=lambda: define("boolq", stop=("x",)), remedy=lambda: define("boolq"))
    follow("whose items are not made", mistake=lambda: check("gsm8k", items=3), remedy=lambda: check("gsm8k", items=None))
    raised = follow("is no metric of kind", mistake=lambda: check("humaneval", metric="acc"), remedy=lambda: None)
    check("humaneval", metric=raised.remedy.removeprefix("choose from "))
    follow("how many are made", mistake=lambda: check("recall", items=None), remedy=lambda: check("recall", items=400))


def test_metrics_and_filters_of_the_harness(follow: Any):
    def each(raised: Any, words: str, use: Callable[[str], object]) -> None:
        for one in raised.remedy.removeprefix(words).removesuffix(" that is").split(", "):
            use(one)

    raised = follow("that is an average over items", mistake=lambda: define("boolq", metric="f1"), remedy=lambda: None)
    each(raised, "choose from ", lambda metric: define("boolq", metric=metric))
    raised = follow("is from 0 to 1 on each item is not known", mistake=lambda: define("truthfulqa_gen"), remedy=lambda: None)
    each(raised, "set metric to the one of ", lambda metric: define("truthfulqa_gen", metric=metric))
    raised = follow("of all its members", mistake=lambda: define("leaderboard"), remedy=lambda: None)
    assert raised.remedy.startswith("choose another task, or one of ")
    raised = follow("{name} has no filter", mistake=lambda: define("gsm8k", filter="loose"), remedy=lambda: None)
    each(raised, "choose from ", lambda name: define("gsm8k", filter=name))
    follow("known to its own code alone", mistake=lambda: define("squadv2"), remedy=lambda: define("squadv2", metric="exact"))
    follow(
        "and not a number from 0 to 1", mistake=lambda: _score(task("recall"), 37.5), remedy=lambda: _score(task("recall"), 1)
    )


def test_tasks_that_are_not_scored(follow: Any):
    follow("{name} measures perplexity", mistake=lambda: define("wikitext"), remedy=lambda: None)
    follow("asks about pictures or sound", mistake=lambda: define("mmmu_val"), remedy=lambda: define("mmlu"))


def test_another_harness_than_planned(follow: Any):
    kind, planned = task_kind("lm-eval"), define("boolq")
    other = planned.model_copy(update={"definition": "0" * 64})
    follow("defines {source} here in another way", mistake=lambda: kind.check(other), remedy=lambda: kind.check(planned))


def test_data_that_a_local_copy_cannot_replace(follow: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for split in ("train", "validation", "test"):
        file = tmp_path / "ai2_arc" / "ARC-Easy" / f"{split}.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        row = {"question": "Why?", "choices": {"text": ["a", "b"], "label": ["A", "B"]}, "answerKey": "A"}
        file.write_text(json.dumps(row) + "\n")

    def load() -> None:
        lm_eval.public_tasks(task("arc_easy"), data_dir=tmp_path)

    with monkeypatch.context() as patch:
        own = Member("arc_easy", {}, None, replaceable=False)
        patch.setattr(lm_eval, "members", lambda source, index: (own,))
        with pytest.raises(UserError) as raised:
            load()
    follow("that a local copy cannot replace", mistake=lambda: _again(raised.value), remedy=load)


def _again(error: BaseException) -> None:
    raise error


def test_the_harness_is_not_installed(follow: Any, monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "lm_eval.tasks", None)
        with pytest.raises(UserError) as raised:
            lm_eval._manager.__wrapped__()
    follow("need the package lm-eval", mistake=lambda: _again(raised.value), remedy=lambda: define("boolq"))


def test_kinds_by_name(follow: Any, monkeypatch: pytest.MonkeyPatch):
    class Other(Jsonl):
        name = "other"

    monkeypatch.setattr(registry, "KINDS", replace(registry.KINDS, _registered={}, _loaded={}))
    follow(
        "there is a {what} {name} already",
        mistake=lambda: registry.register(Jsonl()),
        remedy=lambda: registry.register(Other()),
    )
    raised = follow("there is no {what}", mistake=lambda: task_kind("jsonk"), remedy=lambda: None)
    for name in raised.remedy.removeprefix("choose from ").split(", "):
        assert task_kind(name).name == name
    points = {
        "wrong": EntryPoint("wrong", "json:loads", registry.GROUP),
        "right": EntryPoint("right", "whichbits.accuracy.kinds.jsonl:Jsonl", registry.GROUP),
    }
    monkeypatch.setattr(entry_points, "entry_points", lambda group, name: [points[name]])
    raised = follow("names is no {base}", mistake=lambda: task_kind("wrong"), remedy=lambda: task_kind("right"))
    assert "names is no TaskKind" in raised.message
