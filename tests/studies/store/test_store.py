"""Steps are written once, whole or not at all."""

from __future__ import annotations

import json
import multiprocessing
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from whichbits.core.errors import UserError
from whichbits.schema.evaluate import EvaluateSummary
from whichbits.schema.generate import GenerateSummary
from whichbits.schema.inputs import Inputs
from whichbits.schema.labels import Labels
from whichbits.schema.provenance import Provenance
from whichbits.schema.served_weights import Agreement
from whichbits.schema.step import Items, Step
from whichbits.studies.planning.estimate import Durations
from whichbits.studies.steps.step import Earlier
from whichbits.studies.store.result import read_result, result_files, those_there
from whichbits.studies.store.shards import stored_shards
from whichbits.studies.store.store import Store


class Given(Inputs, extra="allow"):
    """Inputs of a kind of step that only tests know."""


FOUND = GenerateSummary(n=1, tokens=5)


def test_key_depends_on_inputs_and_reads_but_not_on_labels():
    step = Step("kind", 1, Given(a=1, b=[1, 2]), {"role": "x"}, Labels(candidate="one"))
    assert step.key == Step("kind", 1, Given(b=[1, 2], a=1), {"role": "x"}, Labels(candidate="two")).key
    others = [
        Step("other", 1, step.inputs, step.reads),
        Step("kind", 2, step.inputs, step.reads),
        Step("kind", 1, Given(a=1, b=[2, 1]), step.reads),
        Step("kind", 1, step.inputs, {"role": "y"}),
    ]
    assert len({step.key, *(other.key for other in others)}) == 5


def test_key_is_the_sha256_of_the_canonical_text():
    # printf '{"inputs":{"a":1},"kind":"k","reads":{},"version":1}' | sha256sum
    assert Step("k", 1, Given(a=1)).key == "dda48cac67b0ebc6aa2114825e47012acc3b3cea6f7309aa0e4ae5993423c0c2"


def test_a_step_is_done_only_once_renamed(tmp_path: Path):
    store, step = Store(tmp_path), Step("generate", 1, Given(a=1), labels=Labels(candidate="x"))
    partial = store.partial(step)
    (partial / "artifact").write_text("bytes")
    assert not store.done(step)
    assert store.record(step).state == "missing"
    final = store.finish(step, partial, FOUND, Provenance(seconds=1.0))
    assert store.done(step)
    assert not partial.exists()
    assert (final / "artifact").read_text() == "bytes"
    assert json.loads((final / "result.json").read_text())["key"] == step.key
    record = store.record(step)
    assert (record.state, record.summary, record.labels) == ("done", FOUND, Labels(candidate="x"))


def test_the_second_to_finish_leaves_the_first_result(tmp_path: Path):
    store, step = Store(tmp_path), Step("generate", 1, Inputs())
    first = store.partial(step)
    store.finish(step, first, FOUND, Provenance())
    second = store.partial(step)
    store.finish(step, second, GenerateSummary(n=2, tokens=9), Provenance())
    assert store.record(step).summary == FOUND
    assert not second.exists()


def test_a_failure_keeps_cause_and_log_and_is_forgotten_after_success(tmp_path: Path):
    store, step = Store(tmp_path), Step("generate", 1, Inputs())
    partial = store.partial(step)
    (partial / "log.txt").write_text("what it said")
    store.fail(step, partial, "disk full")
    record = store.record(step)
    assert (record.state, record.error) == ("failed", "disk full")
    assert (store.failure(step) / "log.txt").read_text() == "what it said"
    store.finish(step, store.partial(step), FOUND, Provenance())
    assert store.record(step).state == "done"
    assert not store.failure(step).exists()


def _hold(folder: Path, ready: multiprocessing.Event, leave: multiprocessing.Event) -> None:  # type: ignore[valid-type]
    with Store(folder).locked():
        ready.set()
        leave.wait(20)


def test_two_runs_on_one_store_are_kept_apart(tmp_path: Path):
    context = multiprocessing.get_context("fork")
    ready, leave = context.Event(), context.Event()
    process = context.Process(target=_hold, args=(tmp_path, ready, leave))
    process.start()
    assert ready.wait(20)
    with pytest.raises(UserError, match=f"in use by another run .process {process.pid}."), Store(tmp_path).locked():
        pass
    leave.set()
    process.join()
    with Store(tmp_path).locked():
        pass


def test_what_a_killed_run_left_in_flight_is_swept(tmp_path: Path):
    store, step = Store(tmp_path), Step("generate", 1, Inputs())
    partial = store.partial(step)
    (partial / "half").write_text("x")
    with store.locked():
        assert not partial.exists()


def test_a_step_of_a_killed_run_that_still_ends_while_it_is_swept_files_nothing(tmp_path: Path, monkeypatch):
    store, one = Store(tmp_path), Step("generate", 1, Given(a=1))
    partial = store.partial(one)
    (partial / "items.parquet").write_bytes(b"x")
    remove, ends = shutil.rmtree, []

    def remove_while_it_ends(folder: Path, **how: bool) -> None:
        if not ends:
            ends.append(folder)
            with pytest.raises(FileNotFoundError):
                store.finish(one, partial, FOUND, Provenance(seconds=1.0))
        remove(folder, **how)

    monkeypatch.setattr(shutil, "rmtree", remove_while_it_ends)
    with store.locked():
        assert ends
        assert not store.done(one)
    assert [path.name for path in tmp_path.iterdir()] == ["leases"]


@pytest.mark.parametrize("text", ['{"inputs": {}}', '{"inputs": {"part": 3}}', '{"inputs": null}', "[]", "{"])
def test_a_damaged_shard_is_named(tmp_path: Path, text: str):
    result = tmp_path / "steps" / "evaluate_shard" / ("a" * 64) / "result.json"
    result.parent.mkdir(parents=True)
    result.write_text(text)
    with pytest.raises(UserError, match="is damaged"):
        stored_shards(tmp_path, ["evaluate_shard"])


def test_a_store_that_cannot_be_written_is_an_error_of_the_user(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"), Store(tmp_path / "file").locked():
        pass


@pytest.mark.parametrize(
    "text", ['{"summary": {', "[]", "\x00", '{"kind": "kind", "labels": {}, "summary": {}}', "[" * 100_000]
)
def test_a_damaged_result_is_named_with_what_to_do(tmp_path: Path, text: str):
    store, step = Store(tmp_path), Step("generate", 1, Inputs())
    final = store.finish(step, store.partial(step), FOUND, Provenance())
    (final / "result.json").write_text(text)
    for read in (lambda: store.record(step), lambda: Durations().read(tmp_path)):
        with pytest.raises(UserError, match=r"result\.json is damaged") as caught:
            read()
        assert f"delete the folder {final}" in caught.value.remedy
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("summary", ['{"n": 1}', '{"n": "many", "tokens": 5}', "[]"])
def test_a_summary_that_is_not_one_of_its_kind_is_damage(tmp_path: Path, summary: str):
    store, step = Store(tmp_path), Step("generate", 1, Inputs())
    final = store.finish(step, store.partial(step), FOUND, Provenance())
    text = json.loads((final / "result.json").read_text()) | {"summary": json.loads(summary)}
    (final / "result.json").write_text(json.dumps(text))
    with pytest.raises(UserError, match=r"result\.json is damaged: summary") as caught:
        store.record(step)
    assert "\n" not in str(caught.value)


def test_a_summary_with_a_field_that_this_version_has_not_is_read(tmp_path: Path):
    store, step = Store(tmp_path), Step("generate", 1, Inputs())
    final = store.finish(step, store.partial(step), FOUND, Provenance())
    text = json.loads((final / "result.json").read_text())
    text["summary"]["of_a_later_version"] = 1
    (final / "result.json").write_text(json.dumps(text))
    assert store.record(step).summary == FOUND


def found(n: int) -> EvaluateSummary:
    return EvaluateSummary(task="recall", metric="exact_match", n=n, score=0.5)


def scored(store: Store, items: Items, n: int) -> Step:
    """A finished step that is counted in items."""
    step = Step("evaluate", 2, Given(task={"name": "recall"}, seed=0), items=items)
    store.finish(step, store.partial(step), found(n), Provenance(seconds=float(n)))
    return step


def test_a_step_has_a_result_for_each_number_of_items_and_finds_the_longest_that_is_shorter(tmp_path: Path):
    store = Store(tmp_path)
    some, more, every = (replace(scored(store, 5, 5), items=items) for items in (5, 8, "all"))
    assert some.key == more.key == every.key
    assert (store.done(some), store.done(more), store.earlier(some)) == (True, False, None)
    assert store.earlier(more) == store.earlier(every) == Earlier(5, store.directory(some), found(5), 5.0)
    scored(store, 8, 8)
    assert store.earlier(every) == Earlier(8, store.directory(more), found(8), 8.0)
    assert store.earlier(replace(some, items=6)) == Earlier(5, store.directory(some), found(5), 5.0)
    scored(store, "all", 20)
    assert store.earlier(replace(some, items=30)) == Earlier(8, store.directory(more), found(8), 8.0)
    assert [store.record(step).found(EvaluateSummary).n for step in (some, more, every)] == [5, 8, 20]
    assert store.earlier(Step("compare", 1, Inputs())) is None
    durations = Durations()
    durations.read(tmp_path)
    assert durations.step(some) == 11


def test_measuring_afresh_sets_all_numbers_of_items_aside(tmp_path: Path):
    store = Store(tmp_path)
    some, more = scored(store, 5, 5), scored(store, 8, 8)
    assert store.set_aside([more]) == 1
    assert (store.done(some), store.done(more), store.earlier(more)) == (False, False, None)
    assert len(list(tmp_path.glob("superseded/*/evaluate/*/8/result.json"))) == 1


def former(store: Store, limit: int | None, made: int | None) -> Step:
    """A result of a store of schema 1, when keys held the number of items."""
    (store.folder / "cells").mkdir(exist_ok=True)
    inputs = {"task": {"name": "recall", "items": made}, "limit": limit, "seed": 0}
    step = Step("evaluate", 2, Given(**inputs), {"checkpoint": "x"})
    store.finish(step, store.partial(step), found(limit or made or 20), Provenance())
    return step


def test_results_of_a_store_whose_keys_held_the_number_of_items_are_read_as_they_are(tmp_path: Path):
    old = [former(Store(tmp_path), *numbers) for numbers in ((5, 420), (None, 420), (None, None))]
    store = Store(tmp_path)
    now = [
        Step("evaluate", 2, Given(task={"name": "recall"}, seed=0), {"checkpoint": "x"}, items=n) for n in (5, 420, "all", 6)
    ]
    assert [store.done(step) for step in now] == [True, True, True, False]
    assert [store.directory(step) for step in now[:3]] == [store.directory(step) for step in old]
    assert [store.record(step).found(EvaluateSummary).n for step in now[:3]] == [5, 420, 20]
    assert store.earlier(now[3]) == Earlier(5, store.directory(old[0]), found(5))
    assert not store.done(replace(now[0], version=3))
    assert store.set_aside([now[0]]) == 1
    assert not any(store.done(step) for step in now)


def test_a_damaged_result_of_such_a_store_is_named(tmp_path: Path):
    path = Store(tmp_path).directory(former(Store(tmp_path), 5, None)) / "result.json"
    path.write_text("{}")
    with pytest.raises(UserError, match="damaged: it has no version"):
        Store(tmp_path).done(Step("evaluate", 2, Inputs(), items=5))


def test_a_result_that_another_process_removes_while_all_are_read_is_left_out(tmp_path: Path):
    store = Store(tmp_path)
    for number in range(2):
        step = Step("generate", 1, Given(a=number), labels=Labels(candidate="x"))
        store.finish(step, store.partial(step), FOUND, Provenance(seconds=1.0))
    gone, there = list(result_files(tmp_path))
    store.discard([("generate", gone.parent.name)])
    assert [found.path for found in those_there([gone, there], read_result)] == [there]
    there.write_text("{")
    with pytest.raises(UserError, match="damaged"):
        list(those_there([gone, there], read_result))


def test_a_field_within_a_result_that_this_version_has_not_is_read(tmp_path: Path):
    store, step = Store(tmp_path), Step("generate", 1, Inputs())
    near = GenerateSummary(n=1, tokens=5, weights=Agreement(distance=0.1, limit=0.2))
    final = store.finish(step, store.partial(step), near, Provenance())
    text = json.loads((final / "result.json").read_text())
    text["summary"]["weights"]["of_a_later_version"] = 1
    (final / "result.json").write_text(json.dumps(text))
    assert store.record(step).summary == near


def test_a_kind_of_step_that_this_version_does_not_know_is_said(tmp_path: Path):
    store, step = Store(tmp_path), Step("generate", 1, Inputs())
    final = store.finish(step, store.partial(step), FOUND, Provenance())
    place = tmp_path / "steps" / "later" / step.key
    place.parent.mkdir()
    final.rename(place)
    with pytest.raises(UserError, match="kind of step, later, that this version does not know"):
        store.record_of("later", step.key, step.labels)


@pytest.mark.parametrize("text", ["{", '{"kind": "evaluate", "labels": {}, "summary": {"n": 2}, "provenance": {}}'])
def test_a_damaged_shorter_result_is_named_with_what_to_do(tmp_path: Path, text: str):
    store = Store(tmp_path)
    shorter, longer = (Step("evaluate", 1, Inputs(), items=items) for items in (2, 4))
    scored = EvaluateSummary(task="t", metric="acc", n=2, score=0.5)
    final = store.finish(shorter, store.partial(shorter), scored, Provenance())
    found = store.earlier(longer)
    assert found is not None and (found.items, found.summary) == (2, scored)
    (final / "result.json").write_text(text)
    with pytest.raises(UserError, match=r"result\.json is damaged") as caught:
        store.earlier(longer)
    assert f"delete the folder {final}" in caught.value.remedy
