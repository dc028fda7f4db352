"""Mistakes in a specification and in a store."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from whichbits.core.errors import UserError
from whichbits.schema.generate import GenerateSummary
from whichbits.schema.inputs import Inputs
from whichbits.schema.provenance import Provenance
from whichbits.schema.step import Step
from whichbits.studies.specification.schema import load, parse
from whichbits.studies.store import manifest
from whichbits.studies.store.lease import RENEWED_S, leased
from whichbits.studies.store.result import read_result
from whichbits.studies.store.store import Store

GOOD = """\
version: 1
name: mine
model: some/model
candidates:
  - {format: w4a16-int, name: four}
  - {checkpoint: org/model-awq}
tasks:
  - order
margin: 0.02
"""


def reading(*change: str) -> Callable[[], Any]:
    """Reads the good specification with one part changed."""
    old, new = change or ("version", "version")
    assert old in GOOD
    return lambda: parse(GOOD.replace(old, new), "mine.yaml")


def a_manifest() -> manifest.StudyManifest:
    return manifest.StudyManifest(
        schema_version=manifest.SCHEMA, study="mine", specification=GOOD, command="", model="some/model", notes=(),
        base="bf16", base_bytes=1, formats={}, margin=0.01, seed=0, hardware="cpu", engines=(), workloads={}, deployments={},
        prices="default", steps=(), version="1",
    )  # fmt: skip


# The text


def test_text_that_is_not_yaml(follow: Any) -> None:
    follow("not YAML: {problem}", mistake=reading("- order", "- [order"), remedy=reading("- order", "- order"))
    follow("not YAML: {problem}", mistake=reading("version: 1", "version:1"), remedy=reading("version: 1", "version: 1"))


@pytest.mark.parametrize("fixed", ["ab", '"a\\0b"'])
def test_a_character_that_yaml_does_not_allow(follow: Any, fixed: str) -> None:
    follow(
        "the character {character} is not allowed",
        mistake=reading("margin: 0.02", 'notes: ["a\0b"]'),
        remedy=reading("margin: 0.02", f"notes: [{fixed}]"),
    )


def test_text_that_is_nested_too_deeply(follow: Any) -> None:
    follow("nested too deeply", mistake=reading("- order", "- " + "[" * 3000), remedy=reading())


@pytest.mark.parametrize("text", ["", "just words", "- version: 1"])
def test_text_that_is_no_mapping(follow: Any, text: str) -> None:
    start = "version: 1\nname: mine\nmodel: some/model\n"
    follow(
        "not a mapping of fields",
        mistake=lambda: parse(text, "mine.yaml"),
        remedy=lambda: parse(start + "candidates: [w8a8-int]", "mine.yaml"),
    )


def test_a_field_that_is_given_twice(follow: Any) -> None:
    follow("is given twice", mistake=reading("margin: 0.02", "margin: 0.02\nmargin: 0.2"), remedy=reading())


def test_fields_that_are_unknown(follow: Any) -> None:
    near = follow("unknown field", mistake=reading("margin", "margins"), remedy=reading())
    assert near.remedy == "did you mean `margin`?"
    far = follow("unknown field", mistake=reading("name: four", "zzz: four"), remedy=reading("name: four", "run: served"))
    assert "allowed here: " in far.remedy and "run" in far.remedy


@pytest.mark.parametrize("field", ["version: 1\n", "name: mine\n", "model: some/model\n"])
def test_a_field_that_is_missing(follow: Any, field: str) -> None:
    error = follow("is missing", mistake=reading(field, ""), remedy=reading())
    assert error.remedy == f"add `{field.partition(':')[0]}:`"


# Values


@pytest.mark.parametrize(
    ("old", "wrong", "right", "remedy"),
    [
        ("margin: 0.02", "margin: 2", "margin: 0.2", "correct the value"),
        ("- order", "order", "- order", "an entry a line after `- `"),
        ("\n  - order", " order", " [order]", "write it as [one, two]"),
        ("margin: 0.02", "engine: 4", "engine: {concurrency: 4}", "write it as {field: value}"),
        ("margin: 0.02", "engine: {arguments: 4}", "engine: {arguments: {seed: 4}}", "write it as {field: value}"),
        ("margin: 0.02", "notes: [2024-13-45]", "notes: ['2024-13-45']", "correct or quote it"),
        ("name: four", "name: a/b", "name: a-b", "use letters, digits, spaces and any of . : + - @ ( )"),
        ("name: mine", "name: My study", "name: my-study", "use small letters, digits and any of . _ -"),
        ("name: four", "name: model-awq", "name: other", "give each a `name` of its own"),
        ("org/model-awq", "org/model-awq, format: w8a8-int", "org/model-awq", "give one of the two"),
        ("{checkpoint: org/model-awq}", "{name: it}", "{name: it, format: w8a8-int}", "give one of the two"),
        ("org/model-awq", "org/model-awq, recipe: {seed: 1}", "org/model-awq", "leave the recipe out"),
        ("checkpoint: org/model-awq", "checkpoint: a/b, recipe: {seed: 1}", "format: w8a8-int, recipe: {seed: 1}", "`format`"),
        ("- order", "- {name: mine, metric: acc}", "- {name: mine, metric: acc, jsonl: mine.jsonl}", "add `jsonl:`"),
        ("- order", "- {name: order, metric: acc}", "- {name: order}", "leave it out"),
        ("margin: 0.02", "engine: {arguments: {x: 2024-01-01}}", "engine: {arguments: {x: '2024-01-01'}}", "quote it"),
        ("margin: 0.02", "engine: {environment: {'A=B': x}}", "engine: {environment: {A: B=x}}", "write NAME: value"),
        (
            "margin: 0.02",
            "engine: {kind: url, urls: {bf16: 'a:8000'}}",
            "engine: {kind: url, urls: {bf16: 'http://a:8000'}}",
            "write it as http://HOST:PORT",
        ),
        (
            "margin: 0.02",
            "engine: {kind: url, urls: {bf16: 'http://me:pw@a'}}",
            "engine: {kind: url, urls: {bf16: 'http://a'}}",
            "leave it out and set OPENAI_API_KEY",
        ),
        ("margin: 0.02", "engine: {kind: url}", "engine: {kind: url, urls: {bf16: 'http://a'}}", "give both"),
        ("margin: 0.02", "engine: {urls: {bf16: 'http://a'}}", "engine: {}", "leave both out"),
        (
            "margin: 0.02",
            "engine: {served_model_name: m}",
            "engine: {arguments: {served-model-name: m}}",
            "write it as an argument",
        ),
        (
            "margin: 0.02",
            "engine: {served_model_name: m}",
            "engine: {kind: url, urls: {bf16: 'http://a'}, served_model_name: m}",
            "give `kind: url`",
        ),
        ("margin: 0.02", "speeds: [{name: My chat, from: {base: b}}]", "speeds: [{name: my-chat, from: {base: b}}]", "hyphens"),
        (
            "margin: 0.02",
            "speeds: [{name: a, from: {base: b}, hardware: l4, price_per_hour: 2}, {name: c, from: {base: b}, hardware: l4}]",
            "speeds: [{name: a, from: {base: b}, hardware: l4}, {name: c, from: {base: b}, hardware: l4}]",
            "the same `price_per_hour`",
        ),
        (
            "margin: 0.02",
            "speeds: [{name: a, from: {base: b}, count: 2}]",
            "speeds: [{name: a, from: {base: b}, count: 2, hardware: l4}]",
            "add `hardware:`",
        ),
    ],
)
def test_a_value_that_cannot_be(follow: Any, old: str, wrong: str, right: str, remedy: str) -> None:
    error = follow("{message}{shown}", mistake=reading(old, wrong), remedy=reading(old, right))
    assert remedy in error.remedy


def test_anchors_that_multiply(follow: Any) -> None:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]" for old, new in ["ab", "bc", "cd", "de"]]
    follow("{message}{shown}", mistake=lambda: parse("\n".join(lines), "mine.yaml"), remedy=reading())


# Files


def test_files_of_a_specification(follow: Any, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    follow("specification: {path} does not exist", mistake=lambda: load(path), remedy=lambda: load("demo"))
    path.write_bytes(b"\xff\xfe\x00")
    follow(
        "specification: {path} cannot be read",
        mistake=lambda: load(path),
        remedy=lambda: path.write_text(GOOD, encoding="utf-8") and load(path),
    )
    follow("specification: {path} cannot be read", mistake=lambda: load(folder(tmp_path)), remedy=lambda: load(path))


def folder(inside: Path) -> Path:
    """A folder that is called as a file would be."""
    made = inside / "folder.yaml"
    made.mkdir()
    return made


def test_a_preset_that_does_not_exist(follow: Any) -> None:
    error = follow("is neither a file nor a preset", mistake=lambda: load("deom"), remedy=lambda: load("demo"))
    assert "did you mean 'demo'?" in error.remedy
    for name in error.remedy.partition("presets: ")[2].split(", "):
        load(name)


# The store


def test_a_folder_without_a_study(follow: Any, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    follow(
        "holds no study",
        mistake=lambda: manifest.read(tmp_path),
        remedy=lambda: a_manifest().write(tmp_path / "store") or manifest.read(tmp_path / "store"),
    )


@pytest.mark.parametrize("text", ["", "{}", "[" * 5000])
def test_a_damaged_manifest_is_written_anew_by_a_run(follow: Any, tmp_path: Path, text: str) -> None:
    (tmp_path / manifest.FILE).write_text(text)
    follow(
        "store: {path} is damaged",
        mistake=lambda: manifest.read(tmp_path),
        remedy=lambda: a_manifest().write(tmp_path) or manifest.read(tmp_path),
    )


def test_a_store_of_a_later_version(follow: Any, tmp_path: Path) -> None:
    a_manifest().model_copy(update={"schema_version": 99}).write(tmp_path)

    def name_another() -> None:
        a_manifest().write(tmp_path / "other")
        assert manifest.read(tmp_path / "other").schema_version == manifest.SCHEMA

    (tmp_path / "other").mkdir()
    follow("{path} has schema_version {schema_version}", mistake=lambda: manifest.read(tmp_path), remedy=name_another)


def test_a_result_of_a_kind_of_step_that_is_not_known(follow: Any, tmp_path: Path) -> None:
    store, step = Store(tmp_path), Step("generate", 1, Inputs())
    of_another = store.directory(step).parent.with_name("other")
    store.finish(step, store.partial(step), GenerateSummary(n=1, tokens=5), Provenance()).parent.rename(of_another)

    def delete_the_folder() -> None:
        shutil.rmtree(of_another)
        assert store.record_of("other", step.key, step.labels).state == "missing"

    follow("is of a kind of step", mistake=lambda: store.record_of("other", step.key, step.labels), remedy=delete_the_folder)


@pytest.mark.parametrize("text", ["", "{}", "[1]", "[" * 100_000])
def test_a_damaged_result_is_deleted_and_computed_anew(follow: Any, tmp_path: Path, text: str) -> None:
    store, step = Store(tmp_path), Step("generate", 1, Inputs())
    found = GenerateSummary(n=1, tokens=5)

    def run() -> Path:
        return store.finish(step, store.partial(step), found, Provenance()) / "result.json"

    result = run()
    result.write_text(text)

    def delete_and_run() -> None:
        for path in result.parent.iterdir():
            path.unlink()
        result.parent.rmdir()
        assert not store.done(step)
        assert read_result(run()).summary("generate") == store.record(step).summary == found

    error = follow("is damaged: {problem}", mistake=lambda: store.record(step), remedy=delete_and_run)
    assert str(result.parent) in error.remedy


def test_a_damaged_cause_of_failure(follow: Any, tmp_path: Path) -> None:
    store, step = Store(tmp_path), Step("generate", 1, Inputs())
    store.fail(step, None, "a cause")
    cause = store.failure(step) / "error.json"
    cause.write_text(json.dumps({}))

    def delete_and_run() -> None:
        cause.unlink()
        cause.parent.rmdir()
        assert store.record(step).state == "missing"

    follow("is damaged: {problem}", mistake=lambda: store.record(step), remedy=delete_and_run)


def test_a_store_that_cannot_be_written(follow: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    def run(store: str) -> None:
        with Store(tmp_path / store).locked():
            pass

    follow("cannot be written: {strerror}", mistake=lambda: run("file"), remedy=lambda: run("other"))


@pytest.mark.parametrize("store", ["store", "other"])
def test_a_store_that_another_run_holds(follow: Any, tmp_path: Path, store: str) -> None:
    def run(store: str) -> None:
        with Store(tmp_path / store).locked():
            pass

    with leased(tmp_path / "store" / "leases" / "study") as other:

        def wait_or_name_another() -> None:
            if store == "store":
                other.end()
            run(store)

        follow("is in use by another run", mistake=lambda: run("store"), remedy=wait_or_name_another)


def test_a_store_that_was_silent_for_too_long(follow: Any, tmp_path: Path) -> None:
    store = Store(tmp_path)

    def run_again() -> None:
        with store.locked():
            store.check_lock()

    with store.locked():
        lease = tmp_path / "leases" / "study"
        lease.write_text(lease.read_text().replace('"pid":', '"pid":1'))  # as another run takes it over
        time.sleep(RENEWED_S + 1)
        mistake = pytest.raises(UserError)
        with mistake as raised:
            store.check_lock()
        lease.unlink()

    def lost() -> None:
        raise raised.value

    follow("may be another run's by now", mistake=lost, remedy=run_again)


def test_a_store_that_fills_up(follow: Any, tmp_path: Path) -> None:
    """/dev/full is a disk without space."""
    from whichbits.studies.study import _disk_errors

    def run(log: Path) -> None:
        with _disk_errors(Store(tmp_path)), log.open("w") as file:
            file.write("a" * 100_000)

    error = "the same command again; finished steps"
    found = follow(
        "store: {place} cannot be written: {strerror}",
        mistake=lambda: run(Path("/dev/full")),
        remedy=lambda: run(tmp_path / "log"),
    )
    assert error in found.remedy
