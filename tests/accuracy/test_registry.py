from __future__ import annotations

import pytest

from whichbits.accuracy.registry import expand, suite_names, task, task_names
from whichbits.core.errors import UserError


def test_every_shipped_task_and_suite_loads() -> None:
    assert len(expand(suite_names())) >= 10
    assert {one.name for one in expand(task_names())} == set(task_names())


def test_a_wrong_name_is_told_with_the_near_ones() -> None:
    with pytest.raises(UserError, match=r"no task 'gms8k'.*'gsm8k'"):
        task("gms8k")
    with pytest.raises(UserError, match="choose from aime24, arc_challenge"):
        task("zzzz")
    with pytest.raises(UserError, match=r"is a suite.*recall"):
        task("generated")


def test_a_name_given_twice_is_one_task() -> None:
    assert [one.name for one in expand(["copy", "generated", "copy"])] == ["copy", "recall", "needle", "order", "choice"]
