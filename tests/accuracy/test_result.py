from __future__ import annotations

import hashlib
import math

import pytest

from whichbits.accuracy.item import Item
from whichbits.accuracy.registry import task
from whichbits.accuracy.result import Work, distinct, summarize, text_hash


def item(name: str, score: float, chance: float = 0.0) -> Item:
    return Item(name, "p", "t", name, score, "x", "y", chance=chance)


def test_summary_by_hand() -> None:
    items = [item("a", 1.0, 0.25), item("b", 0.0, 0.25), item("c", 1.0, 0.5)]
    found = summarize(task("choice"), items, Work(30, 6), available=9, most=9).summary
    assert (found.n, found.available) == (3, 9)
    assert found.score == pytest.approx(2 / 3)
    assert found.stderr == pytest.approx(math.sqrt(1 / 3) / math.sqrt(3))  # variance (1/9 + 4/9 + 1/9) / 2
    assert found.chance == pytest.approx(1 / 3)
    assert (found.prompt_tokens, found.generated_tokens) == (10, 2)


def test_a_stated_chance_goes_before_the_items() -> None:
    assert summarize(task("recall"), [item("a", 1.0)], Work(), available=9, most=9).summary.chance == 0.2
    assert summarize(task("recall"), [item("a", 1.0)], Work(), available=9, most=9).summary.stderr is None


def test_a_metric_outside_0_to_1_is_an_error() -> None:
    with pytest.raises(ValueError, match="not 0 to 1"):
        summarize(task("choice"), [item("a", -1.0)], Work(), available=9, most=9)


def test_repeated_names_are_numbered() -> None:
    assert [one.item for one in distinct([item("a", 0), item("b", 0), item("a", 1), item("a", 0)])] == ["a", "b", "a#2", "a#3"]


def test_hash_is_lm_evals() -> None:
    assert text_hash("ä") == hashlib.sha256("ä".encode()).hexdigest()
