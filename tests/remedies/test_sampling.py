"""Remedies of sampling and of reducers."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("lm_eval")

from whichbits.accuracy.kinds.registry import task_kind
from whichbits.accuracy.reducers.reducer import Answer
from whichbits.accuracy.reducers.registry import reducer
from whichbits.accuracy.registry import task
from whichbits.accuracy.run_lm_eval import _refuse_samples
from whichbits.accuracy.sampling import check as check_sampling
from whichbits.schema.sampling import Sampling
from whichbits.studies.steps.evaluate import _in_random_order

HALF = [Answer(0.5, "a"), Answer(1, "b")]


def check(**stated: Any) -> None:
    check_sampling(Sampling(**stated))


def test_samples(follow: Any):
    follow("times the same", mistake=lambda: check(samples=4), remedy=lambda: check(samples=4, temperature=0.6))
    follow(
        "answers an item, and there are",
        mistake=lambda: check(samples=4, temperature=1, reducer="pass@5"),
        remedy=lambda: check(samples=5, temperature=1, reducer="pass@5"),
    )
    raised = follow("there is no reducer", mistake=lambda: reducer("best"), remedy=lambda: reducer("pass@3"))
    for name in raised.remedy.removeprefix("choose from ").replace("@K with K from 1", "@1").split(", "):
        reducer(name)
    follow("counts right answers", mistake=lambda: reducer("pass@1")(HALF), remedy=lambda: reducer("mean")(HALF))


def test_choices_are_not_drawn(follow: Any):
    choice = task("choice")
    (made,) = task_kind(choice.kind).harness_tasks(choice, seed=0, data_dir=None).values()
    follow(
        "draws no answer",
        mistake=lambda: _refuse_samples(choice.sampled(Sampling(temperature=1)), made),
        remedy=lambda: _refuse_samples(choice, made),
    )


def test_judged_tasks_are_asked_whole(follow: Any):
    follow(
        "cannot be looked at before its end",
        mistake=lambda: _in_random_order(task("arena_hard_v0.1"), 0),
        remedy=lambda: _in_random_order(task("choice"), 0),
    )
