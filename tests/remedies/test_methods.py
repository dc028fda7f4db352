"""Remedies of classes by name: rounders, transforms, kinds of tasks."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from whichbits.core import entry_points
from whichbits.core.entry_points import Registry
from whichbits.quantization.recipe.methods import Method


class Plain(Method):
    """A method that does nothing."""


@pytest.fixture
def points() -> list[SimpleNamespace]:
    """Entry points of installed packages: one, `wrong`, names no method, and two are called `both`."""
    wrong = SimpleNamespace(name="wrong", load=lambda: print)
    named = (("right", "right:Plain"), ("both", "one:Plain"), ("both", "another:Plain"))
    return [wrong, *(SimpleNamespace(name=name, value=value, load=lambda: Plain) for name, value in named)]


@pytest.fixture
def rounders(points: list[SimpleNamespace], monkeypatch: pytest.MonkeyPatch) -> Registry[Method]:
    """Rounders of installed packages alone."""

    def found(group: str, name: str | None = None) -> list[SimpleNamespace]:
        return [point for point in points if name in (None, point.name)]

    monkeypatch.setattr(entry_points, "entry_points", found)
    return Registry("rounding", "rounder", "whichbits.rounders", ("whichbits.quantization.recipe.methods", "Method"), {})


def test_a_name_that_is_none(follow: Any, rounders: Registry[Method]) -> None:
    raised = follow("there is no {what}", mistake=lambda: rounders.get("rigth"), remedy=lambda: rounders.get("right"))
    assert "right" in raised.remedy


def test_an_entry_point_that_names_something_else(follow: Any, rounders: Registry[Method]) -> None:
    follow("names is no {base}", mistake=lambda: rounders.get("wrong"), remedy=lambda: rounders.get("right"))


def test_a_name_that_two_packages_bring(follow: Any, rounders: Registry[Method], points: list[SimpleNamespace]) -> None:
    def uninstall() -> None:
        points.pop()
        assert isinstance(rounders.get("both"), Plain)

    raised = follow("several entry points of {group}", mistake=lambda: rounders.get("both"), remedy=uninstall)
    assert "another:Plain, one:Plain" in raised.message


def test_a_name_that_is_taken(follow: Any, rounders: Registry[Method]) -> None:
    follow(
        "there is a {what} {name} already",
        mistake=lambda: rounders.register("right", Plain),
        remedy=lambda: rounders.register("another", Plain),
    )
    assert isinstance(rounders.get("another"), Plain)
