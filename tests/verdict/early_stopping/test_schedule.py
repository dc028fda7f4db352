from itertools import pairwise

import pytest

from whichbits.verdict.early_stopping.schedule import information, information_at, looks

MOST = {"a": 400, "b": 700, "c": 1200, "d": 1700, "e": 2500, "f": 3500}


def test_equal_items_tell_more_than_their_share():
    quarter = {task: min(417, size) for task, size in MOST.items()}
    assert sum(quarter.values()) == 2485
    assert information(quarter, MOST) == pytest.approx(0.4165, abs=0.0001)
    assert information(MOST, MOST) == 1


def test_looks_come_at_like_shares_of_the_items():
    found = looks(MOST, 20)
    assert (found[-1].count, found[-1].items, found[-1].information) == (3500, 10_000, 1.0)
    assert [look.items for look in found[:3]] == [1002, 1500, 2004]  # that with 500 has less than a tenth of the information
    assert [look.count for look in found[:3]] == [167, 250, 334]
    assert all(b.information > a.information for a, b in pairwise(found))


def test_few_items_have_few_looks():
    assert [look.items for look in looks({"a": 3}, 20)] == [1, 2, 3]
    assert [look.items for look in looks({"a": 1}, 20)] == [1]


def test_a_budget_ends_it():
    last = looks(MOST, 20, budget=4000)[-1]
    assert 3990 <= last.items <= 4000
    assert last.information == 1
    assert looks(MOST, 20, budget=10**6)[-1].items == 10_000


def test_what_a_look_tells_depends_on_which_tasks_vary():
    plan = looks(MOST, 10)
    equal, large, small = (
        information_at(plan, MOST, {task: variance if task == named else 1.0 for task in MOST})
        for named, variance in (("a", 1.0), ("f", 1e6), ("a", 1e6))
    )
    assert equal == pytest.approx([look.information for look in plan], abs=0.011)
    assert large == pytest.approx([look.count / 3500 for look in plan], abs=0.011)
    assert small[-3:] == pytest.approx([1, 1, 1], abs=0.011)
    for shares in (equal, large, small):
        assert shares[0] > 0 and shares[-1] == pytest.approx(1) and all(b - a > 0.001 for a, b in pairwise(shares))
