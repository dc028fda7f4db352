"""Mistakes in a specification are reported with line, field, value and remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from whichbits.core.errors import UserError
from whichbits.studies.specification.schema import load, parse, presets

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


def test_an_alias_is_stored_and_shown_as_the_format():
    aliased = GOOD.replace("- w8a8-int\n", "- INT8\n").replace("format: w4a16-int", "format: int4")
    specification, _ = parse(aliased, "mine.yaml")
    assert specification == parse(GOOD, "mine.yaml")[0]
    with pytest.raises(UserError, match="two are named 'w8a8-int'"):
        parse(aliased.replace("- {checkpoint: org/model-awq}", "- w8a8"), "mine.yaml")


@pytest.mark.parametrize(
    ("entry", "kind", "name", "source"),
    [
        ("lm_eval:boolq", "lm-eval", "boolq", "boolq"),
        ("{lm_eval: boolq, metric: acc, num_fewshot: 3}", "lm-eval", "boolq", "boolq"),
        ("{name: yes or no, lm_eval: boolq}", "lm-eval", "yes or no", "boolq"),
        ("{name: mine, jsonl: a/b.jsonl}", "jsonl", "mine", "a/b.jsonl"),
        ("{name: other, kind: theirs, source: x}", "theirs", "other", "x"),
    ],
)
def test_a_task_of_another_kind(entry: str, kind: str, name: str, source: str):
    (choice,) = parse(GOOD.replace("- order", f"- {entry}"), "mine.yaml")[0].tasks
    assert (choice.made_of, choice.name) == ((kind, source), name)
    assert parse(GOOD, "mine.yaml")[0].tasks[0].made_of is None


@pytest.mark.parametrize(
    ("change", "line", "parts"),
    [
        (("margin: 0.02", "margins: 0.02"), 12, ["margins", "unknown field", "0.02", "did you mean `margin`?"]),
        (("margin: 0.02", "margin: 2"), 12, ["margin", "less than 1", "value 2"]),
        (("scales: mse}}", "scales: mse}, recip: 1}"), 6, ["candidates.1.recip", "did you mean `recipe`?"]),
        (("{checkpoint: org/model-awq}", "{checkpoint: a/b, format: w8a8-int}"), 7, ["either a `format`"]),
        (("- demo-chat", "- demo-chat\n  - ["), 14, ["not YAML"]),
        (("- {checkpoint: org/model-awq}", "- w8a8-int"), 4, ["candidates: two are named 'w8a8-int'", "give each a `name`"]),
        (("- order", "order"), 8, ["tasks: should be a list", "an entry a line"]),
        (("- order", "- {name: order, metric: acc}"), 9, ["`metric` belongs to a task of your own"]),
        (("- order", "- {lm_eval: boolq, jsonl: a.jsonl}"), 9, ["`jsonl` and `lm_eval` are both given"]),
        (("- order", "- {name: mine, kind: theirs}"), 9, ["`kind` and `source` go together"]),
        (("- order", "- {name: order, sampling: {samples: 0}}"), 9, ["tasks.0.sampling.samples", "value 0"]),
        (("- order", "- {limit: 3}"), 9, ["a task has no name"]),
        (("- order", "- {name: order, limit: 0}"), 9, ["tasks.0.limit", "value 0"]),
        (("name: mse", "name: ../../mse"), 6, ["'../../mse'", "cannot be a name"]),
        (("name: mse", 'name: "a\\nb"'), 6, ["cannot be a name"]),
        (("name: mse", "name: '[red]'"), 6, ["cannot be a name"]),
        (("margin: 0.02", "margin: 0.02\nmargin: 0.2"), 13, ["margin: is given twice, first in line 12"]),
        (("margin: 0.02", "seed: -1"), 12, ["seed", "value -1"]),
        (("margin: 0.02", "deployment: {price_per_hour: 0}"), 12, ["deployment.price_per_hour", "value 0"]),
        (("margin: 0.02", "deployment: {price_per_hour: .inf}"), 12, ["deployment.price_per_hour", "value inf"]),
        (("margin: 0.02", "notes: [2024-13-45]"), 12, ["'2024-13-45' is no value", "quote it"]),
        (("margin: 0.02", "seed: " + "9" * 5000), 12, ["no value", "correct or quote it"]),
        (("margin: 0.02", "notes: [a\0b]"), 12, ["not YAML"]),
        (("margin: 0.02", "engine: {kind: url, urls: {bf16: 'ftp://a'}}"), 12, ["engine.urls", "http://HOST:PORT"]),
        (("margin: 0.02", "engine: {kind: url, urls: {bf16: 'http://[::1:80'}}"), 12, ["engine.urls", "http://HOST:PORT"]),
        (("margin: 0.02", "engine: {arguments: {x: 2024-01-01}}"), 12, ["engine.arguments", "quote it"]),
        (("margin: 0.02", 'engine: {environment: {"A=B": x}}'), 12, ["engine.environment", "NAME: value"]),
        (("margin: 0.02", "rounds: true"), 12, ["rounds", "is true or false", "value True"]),
        (("margin: 0.02", "margin: true"), 12, ["margin", "is true or false"]),
        (("- order", "- {name: order, limit: true}"), 9, ["tasks.0.limit", "is true or false"]),
        (("model: some/model", 'model: ""'), 3, ["model", "at least 1 character"]),
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


@pytest.mark.parametrize(
    "text",
    [
        "rounds: true", "base_repeats: yes", "seed: on", "deployment: {count: true}", "margin: false", "max_length: true",
        "engine: {concurrency: true}", "similarity: {limit: true}", "deployment: {price_per_hour: true}",
        "similarity: {limit: 4, max_tokens: off}", "deployment: {name: yes}",
    ],
)  # fmt: skip
def test_true_is_no_number(text: str):
    good = GOOD.replace("margin: 0.02\n", "")
    with pytest.raises(UserError, match=r"mine.yaml, line 12: .* is true or false \(value (True|False)\) → write the number"):
        parse(good + text + "\n", "mine.yaml")


def test_true_stays_where_it_belongs():
    found, _ = parse(GOOD + "trust_remote_code: true\nengine: {arguments: {enforce-eager: true}}\n", "mine.yaml")
    assert found.trust_remote_code
    assert found.engine.arguments == {"enforce-eager": True}


def test_anchors_that_multiply_are_refused_at_once():
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
    )
    with pytest.raises(UserError, match="anchors make more than") as caught:
        parse(bomb + GOOD.replace("- order", "- *i"), "mine.yaml")
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("text", ["notes: &n [*n]\n", "notes: " + "[" * 5000 + "]" * 5000])
def test_a_text_without_end_is_refused(text: str):
    with pytest.raises(UserError, match=r"anchors make more|nested too deeply"):
        parse(GOOD + text, "mine.yaml")


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path):
    (tmp_path / "mine.yaml").write_text(GOOD, encoding="utf-8-sig")
    assert load(tmp_path / "mine.yaml")[0].name == "mine"


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


def test_most_rounds_are_at_least_rounds() -> None:
    text = "version: 1\nname: a\nmodel: m\ncandidates: [w8a8-int]\nrounds: 4\nmost_rounds: {}\n"
    assert parse(text.format(4), "a.yaml")[0].looks == (4,)
    assert parse(text.format(6), "a.yaml")[0].looks == (4, 6)
    assert parse(text.format(20), "a.yaml")[0].looks == (4, 8, 16, 20)
    with pytest.raises(UserError, match="less than `rounds`"):
        parse(text.format(3), "a.yaml")


@pytest.mark.parametrize(("budget", "seconds"), [("90 s", 90.0), ("30 min", 1800.0), ("1.5 h", 5400.0), ("600", 600.0)])
def test_a_speed_budget_is_of_seconds_and_allows_eight_times_the_rounds(budget: str, seconds: float) -> None:
    text = f"version: 1\nname: a\nmodel: m\ncandidates: [w8a8-int]\nspeed_budget: {budget}\n"
    found = parse(text, "a.yaml")[0]
    assert (found.speed_budget, found.looks) == (seconds, (3, 6, 12, 24))
    assert parse(text + "rounds: 20\n", "a.yaml")[0].looks == (20, 40, 80, 100)
    assert parse(text + "most_rounds: 5\n", "a.yaml")[0].looks == (3, 5)
