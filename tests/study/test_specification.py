"""Mistakes in a specification are reported with line, field, value and remedy."""

from __future__ import annotations

import pytest

from whichbits.errors import UserError
from whichbits.study.specification import load, parse, presets

GOOD = """\
version: 1
name: mine
model: some/model
candidates:
  - w8a8-int
  - {format: w4a16-int, name: mse, recipe: {scales: mse}}
  - {checkpoint: org/model-awq}
tasks:
  - order
workloads:
  - demo-chat
margin: 0.02
"""


def test_short_forms_and_default_names():
    specification, _ = parse(GOOD, "mine.yaml")
    assert [candidate.name for candidate in specification.candidates] == ["w8a8-int", "mse", "model-awq"]
    assert specification.tasks[0].name == "order"
    assert specification.workloads == ({"name": "demo-chat"},)


@pytest.mark.parametrize(
    ("change", "line", "parts"),
    [
        (("margin: 0.02", "margins: 0.02"), 12, ["margins", "unknown field", "0.02", "did you mean `margin`?"]),
        (("margin: 0.02", "margin: 2"), 12, ["margin", "less than 1", "value 2"]),
        (("scales: mse}}", "scales: mse}, recip: 1}"), 6, ["candidates.1.recip", "did you mean `recipe`?"]),
        (("{checkpoint: org/model-awq}", "{checkpoint: a/b, format: w8a8-int}"), 7, ["either a `format`"]),
        (("- demo-chat", "- demo-chat\n  - ["), 14, ["not YAML"]),
        (("- {checkpoint: org/model-awq}", "- w8a8-int"), None, ["two candidates are named 'w8a8-int'"]),
    ],
)
def test_mistakes_name_line_field_value_and_remedy(change: tuple[str, str], line: int | None, parts: list[str]):
    with pytest.raises(UserError) as caught:
        parse(GOOD.replace(*change), "mine.yaml")
    text = str(caught.value)
    assert "\n" not in text
    if line is not None:
        assert f"mine.yaml, line {line}:" in text
    for part in parts:
        assert part in text


def test_missing_field_is_named():
    with pytest.raises(UserError, match=r"model: is missing"):
        parse(GOOD.replace("model: some/model\n", ""), "mine.yaml")


@pytest.mark.parametrize("name", sorted(presets()))
def test_every_preset_is_valid(name: str):
    specification, _ = load(name)
    assert specification.name == name


def test_unknown_preset_suggests_a_near_one():
    with pytest.raises(UserError, match="did you mean 'demo'"):
        load("demmo")


def test_a_file_that_is_missing_is_said_to_be():
    with pytest.raises(UserError, match=r"nowhere\.yaml does not exist"):
        load("nowhere.yaml")
