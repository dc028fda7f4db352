from __future__ import annotations

import pytest
from pydantic import ValidationError

from whichbits.accuracy.kinds.registry import task_kind
from whichbits.accuracy.registry import task, task_names
from whichbits.accuracy.task import Task
from whichbits.core.errors import UserError


def test_a_task_travels_as_json() -> None:
    for name in ("recall", "humaneval", "gsm8k"):
        one = task(name)
        assert Task.model_validate_json(one.model_dump_json()) == one


@pytest.mark.parametrize(
    "wrong",
    [
        {"version": 0},
        {"chance": 1.0},
        {"max_tokens": 0},
        {"temperature": -1},
        {"metrics": "acc"},
    ],
)
def test_wrong_fields_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Task.model_validate(task("recall").model_dump() | wrong)


@pytest.mark.parametrize(
    ("name", "wrong", "problem"),
    [
        ("recall", {"items": None}, "items: task recall does not say"),
        ("recall", {"metric": "f1"}, "metric: 'f1'"),
        ("humaneval", {"metric": "acc"}, "metric: 'acc'"),
        ("gsm8k", {"items": 5}, "items: task gsm8k"),
        ("recall", {"kind": "other"}, "no kind of task 'other'"),
    ],
)
def test_fields_that_do_not_fit_the_kind_are_refused(name: str, wrong: dict[str, object], problem: str) -> None:
    one = task(name).model_copy(update=wrong)
    with pytest.raises(UserError, match=problem):
        task_kind(one.kind).check(one)


def test_every_shipped_task_fits_its_kind() -> None:
    for name in task_names():
        task_kind(task(name).kind).check(task(name))
