"""Remedies of rounders and transforms by name."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from whichbits.quantization.recipe import methods
from whichbits.quantization.recipe.methods import Method, Methods


class Plain(Method):
    """A method that does nothing."""


@pytest.fixture
def rounders(monkeypatch: pytest.MonkeyPatch) -> Methods:
    """Rounders of which installed packages have one, `wrong`, that is none."""
    points = {
        "wrong": SimpleNamespace(name="wrong", load=lambda: print),
        "right": SimpleNamespace(name="right", load=lambda: Plain),
    }

    def entry_points(group: str, name: str | None = None) -> list[SimpleNamespace]:
        return list(points.values()) if name is None else [points[name]] if name in points else []

    monkeypatch.setattr(methods, "entry_points", entry_points)
    return Methods("rounder", "whichbits.rounders", {})


def test_a_name_that_is_none(follow: Any, rounders: Methods) -> None:
    raised = follow("there is no {kind}", mistake=lambda: rounders.get("rigth"), remedy=lambda: rounders.get("right"))
    assert "right" in raised.remedy


def test_an_entry_point_that_names_something_else(follow: Any, rounders: Methods) -> None:
    follow("names is no {kind}", mistake=lambda: rounders.get("wrong"), remedy=lambda: rounders.get("right"))


def test_a_name_that_is_taken(follow: Any, rounders: Methods) -> None:
    follow(
        "there is one called {name} already",
        mistake=lambda: rounders.register("right", Plain),
        remedy=lambda: rounders.register("another", Plain),
    )
    assert isinstance(rounders.get("another"), Plain)
