from __future__ import annotations

import pytest
from pydantic import ValidationError

from whichbits.accuracy.registry import task
from whichbits.accuracy.task import Task


def test_a_task_travels_as_json() -> None:
    for name in ("recall", "humaneval", "gsm8k"):
        one = task(name)
        assert Task.model_validate_json(one.model_dump_json()) == one


@pytest.mark.parametrize(
    "wrong",
    [
        {"version": 0},
        {"chance": 1.0},
        {"kind": "other"},
        {"max_tokens": 0},
        {"temperature": -1},
        {"metrics": "acc"},
        {"items": None},
        {"metric": "f1"},
    ],
)
def test_wrong_fields_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Task.model_validate(task("recall").model_dump() | wrong)


def test_items_belong_to_generators() -> None:
    with pytest.raises(ValidationError, match="items belongs"):
        Task.model_validate(task("gsm8k").model_dump() | {"items": 5})
