"""Tests against a reference solution: equality, tolerance, sets, contracts."""

from __future__ import annotations

import math
from typing import Any

import pytest

from whichbits.accuracy.code.json_types import compared_as_sets, restored
from whichbits.accuracy.code.reference_tests import comparison

DOUBLE = "def f(x):\n    return 2 * x\n"


def passes(function: Any, reference: str, inputs: list[list[Any]], name: str = "f", **how: Any) -> bool:
    names: dict[str, Any] = {}
    exec(comparison(reference, name, inputs, **how), names)
    try:
        names["check"](function)
    except AssertionError:
        return False
    return True


def test_every_input_counts() -> None:
    inputs = [[1], [2], [10]]
    assert passes(lambda x: x + x, DOUBLE, inputs)
    assert not passes(lambda x: x + x if x < 10 else 0, DOUBLE, inputs)


def test_floats_have_a_tolerance_and_integers_none() -> None:
    assert passes(lambda x: 2 * x + 9e-7, DOUBLE, [[0.5]])
    assert not passes(lambda x: 2 * x + 1e-5, DOUBLE, [[0.5]])
    assert passes(lambda x: 2 * x + 1e-5, DOUBLE, [[0.5]], atol=1e-4)
    assert not passes(lambda x: 2 * x + 1e-7, DOUBLE, [[3]])
    assert passes(lambda x: [2 * x], "def f(x):\n    return [2.0 * x + 1e-8]\n", [[0.25]])
    assert not passes(lambda x: [2 * x, 0.0], "def f(x):\n    return [2.0 * x]\n", [[0.25]])
    assert passes(lambda x: math.nan, "def f(x):\n    return float('nan')\n", [[1]])
    assert passes(lambda x: 1e9 + 50, "def f(x):\n    return 1e9\n", [[1]])


def test_a_reference_that_takes_no_input_lets_nothing_pass() -> None:
    assert not passes(lambda x: 2 * x, "def f(x):\n    return absent * x\n", [[1], [2]])
    assert not passes(lambda x: 2 * x, DOUBLE, [[1]], contract="\n    assert x > 1\n")


def test_inputs_that_break_the_contract_are_left_out() -> None:
    inputs = [[1], [-1]]
    only_positive = lambda x: 2 * x if x > 0 else None  # noqa: E731
    assert not passes(only_positive, DOUBLE, inputs)
    assert passes(only_positive, DOUBLE, inputs, contract='\n    assert x > 0, "invalid inputs" # $_CONTRACT_$\n')


def test_sets_have_no_order() -> None:
    reference = "def f(x):\n    return tuple(x)\n"
    assert not passes(lambda x: tuple(reversed(x)), reference, [[[1, 2]]])
    assert passes(lambda x: tuple(reversed(x)), reference, [[[1, 2]]], as_sets=True)
    assert compared_as_sets("assert set(f((1, 2))) == set((2, 1))", "f")
    assert not compared_as_sets("assert f(set((1, 2))) == set((2, 1))", "f")


def test_any_zero_of_the_polynomial_is_right() -> None:
    reference = "def find_zero(xs):\n    return 1.0\n"
    inputs = [[[-1, 0, 1]]]  # x² − 1
    for found, right in ((1.0, True), (-1.0, True), (0.9, False)):
        assert passes(lambda xs, found=found: found, reference, inputs, name="find_zero", atol=1e-4) is right


def test_inputs_cannot_be_changed_by_the_function() -> None:
    def clears(values):
        total = sum(values)
        values.clear()
        return total

    assert passes(clears, "def f(values):\n    return sum(values)\n", [[[1, 2]]])


@pytest.mark.parametrize(
    ("assertions", "inputs", "expected"),
    [
        ("assert f((1, 2), [3]) == 1", [[[5], [6]]], [[(5,), [6]]]),
        ("assert f([(1, 'a'), (2, 'b')]) == 1", [[[[3, "c"]]]], [[[(3, "c")]]]),
        ("assert f(((1, 2), (3, 4))) == 1\nassert set(f(((1,), (2,)))) == 1", [[[[9], [8]]]], [[((9,), (8,))]]),
        ("assert f([{1, 2}, {}]) == 1", [[[[1, 1], [2]]]], [[[{1}, {2}]]]),
        ("assert f({'a': (1, 2)}, 6.0) == 1", [[{"b": [3, 4]}, 1]], [[{"b": (3, 4)}, 1]]),
        ("assert f(1 + 2j) == 1", [["(3+4j)"]], [[3 + 4j]]),
        ("assert f((1, (2, 3))) == 1", [[[4, [5, 6]]]], [[(4, (5, 6))]]),
        ("assert f(len([1])) == 1", [[[4]]], [[[4]]]),
    ],
)
def test_types_that_json_lost_are_those_of_the_assertions(assertions: str, inputs: Any, expected: Any) -> None:
    assert restored(inputs, assertions, "f") == expected


def test_a_match_stands_for_true() -> None:
    reference = "import re\ndef f(x):\n    return re.search('a', x)\n"
    assert passes(lambda x: "a" in x or None, reference, [["cat"], ["dog"]])
    assert not passes(lambda x: None, reference, [["cat"]])
