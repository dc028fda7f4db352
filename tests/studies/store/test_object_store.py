"""One store as several machines see it: the same in a folder that they share as in S3, also where this fails in passing."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import whichbits
from whichbits.core.errors import UserError
from whichbits.schema.generate import GenerateSummary
from whichbits.schema.inputs import Inputs
from whichbits.schema.labels import Labels
from whichbits.schema.provenance import Provenance
from whichbits.schema.step import Items, Step
from whichbits.studies.store import lease, object_lease, object_store, objects
from whichbits.studies.store.lease import LeaseHeld
from whichbits.studies.store.object_store import LARGE, ObjectStore
from whichbits.studies.store.objects import Objects
from whichbits.studies.store.place import open_folder, open_store
from whichbits.studies.store.store import Store


class Given(Inputs, extra="allow"):
    """Inputs of a kind of step that only tests know."""


FOUND = GenerateSummary(n=1, tokens=5)
WEIGHTS = bytes(range(256)) * (LARGE // 256 + 1)


def step(value: int = 1, items: Items | None = None) -> Step:
    return Step("generate", 1, Given(a=value), labels=Labels(candidate="x"), items=items)


def finish(store: Store, one: Step, tokens: int = 5, artifact: bytes = b"bytes") -> Path:
    partial = store.partial(one)
    (partial / "checkpoint").mkdir()
    (partial / "checkpoint" / "weights").write_bytes(artifact)
    (partial / "items.parquet").write_bytes(artifact)
    return store.finish(one, partial, GenerateSummary(n=1, tokens=tokens), Provenance(seconds=1.0))


def test_what_one_machine_finishes_another_finds_whole(machines):
    one, two = machines.store("one"), machines.store("two")
    assert not two.done(step())
    assert two.record(step()).state == "missing"
    finish(one, step(), artifact=WEIGHTS)
    assert two.done(step())
    assert (two.record(step()).state, two.record(step()).summary) == ("done", FOUND)
    assert two.record(step()).items.read_bytes() == WEIGHTS
    assert (two.fetched(step()) / "checkpoint" / "weights").read_bytes() == WEIGHTS


def test_of_two_that_finish_one_step_the_first_counts_wholly(machines):
    one, two = machines.store("one"), machines.store("two")
    finish(one, step(), tokens=1, artifact=b"first")
    final = finish(two, step(), tokens=2, artifact=b"second")
    for store in (one, two, machines.store("three")):
        assert store.record(step()).summary == GenerateSummary(n=1, tokens=1)
        assert (store.fetched(step()) / "checkpoint" / "weights").read_bytes() == b"first"
    assert (final / "items.parquet").read_bytes() == b"first"


def test_many_that_finish_one_step_at_once_leave_one_result(machines):
    stores = [machines.store(str(number)) for number in range(6)]
    with ThreadPoolExecutor(len(stores)) as pool:
        list(pool.map(lambda numbered: finish(numbered[1], step(), numbered[0], str(numbered[0]).encode()), enumerate(stores)))
    late = machines.store("late")
    tokens = late.record(step()).found(GenerateSummary).tokens
    assert (late.fetched(step()) / "checkpoint" / "weights").read_bytes() == str(tokens).encode()
    assert {store.record(step()).found(GenerateSummary).tokens for store in stores} == {tokens}


def test_a_failure_is_seen_elsewhere_until_the_step_is_done(machines):
    one, two = machines.store("one"), machines.store("two")
    partial = one.partial(step())
    (partial / "log.txt").write_text("what it said")
    one.fail(step(), partial, "disk full")
    assert (two.record(step()).state, two.record(step()).error) == ("failed", "disk full")
    assert (two.failure(step()) / "log.txt").read_text() == "what it said"
    finish(two, step())
    assert one.record(step()).state == "done"
    assert not (machines.store("three").failure(step())).exists()


def test_more_items_build_on_what_another_machine_has_found(machines):
    one, two = machines.store("one"), machines.store("two")
    finish(one, step(items=5), tokens=5)
    finish(one, step(items=8), tokens=8)
    earlier = two.earlier(step(items="all"))
    assert earlier is not None
    assert (earlier.items, earlier.summary) == (8, GenerateSummary(n=1, tokens=8))
    assert not two.done(step(items="all"))


def test_two_runs_are_kept_apart_and_steps_from_the_whole(machines):
    one, two = machines.store("one"), machines.store("two")
    with one.locked():
        with pytest.raises(UserError, match="in use by another run"), two.locked():
            pass
        with pytest.raises(UserError, match="in use by another run"), two.locked_steps([step()]):
            pass
    with two.locked_steps([step(1)]), one.locked_steps([step(2)]):
        for wanted in ([step(1)], [step(1), step(3)]):
            with pytest.raises(UserError, match="in use by another run"), one.locked_steps(wanted):
                pass
        with pytest.raises(UserError, match="in use by another run"), machines.store("three").locked():
            pass
    with machines.store("three").locked():
        pass


def test_what_is_set_aside_is_computed_anew_everywhere(machines):
    one = machines.store("one")
    with one.locked():
        finish(one, step(), tokens=1)
        assert one.set_aside([step()]) == 1
        assert not one.done(step())
    two = machines.store("two")
    assert not two.done(step())
    finish(two, step(), tokens=2)
    with one.locked():  # sweeps what belongs to no result, and leaves what is set aside
        assert one.record(step()).summary == GenerateSummary(n=1, tokens=2)
    assert (machines.store("three").fetched(step()) / "checkpoint" / "weights").read_bytes() == b"bytes"


def test_a_step_that_reads_has_what_was_computed_anew_also_where_the_former_result_was_made(machines):
    one, two = machines.store("one"), machines.store("two")
    finish(one, step(), tokens=1, artifact=b"before")
    two.fetched(step())
    driver = machines.store("three")
    driver.discard([(step().kind, step().key)])
    finish(driver, step(), tokens=2, artifact=b"anew")
    for name in ("one", "two"):
        store = machines.store(name)
        assert (store.fetched(step()) / "checkpoint" / "weights").read_bytes() == b"anew"
        assert store.record(step()).summary == GenerateSummary(n=1, tokens=2)


def test_what_was_computed_anew_elsewhere_replaces_the_copy_when_a_run_begins(machines):
    one, two = machines.store("one"), machines.store("two")
    finish(one, step(), tokens=1)
    finish(one, step(2, items=10), tokens=1)
    two.refresh()
    assert two.record(step()).summary == GenerateSummary(n=1, tokens=1)
    one.set_aside([step(), step(2, items=10)])
    assert two.earlier(step(2, items=20)) is None
    with two.locked():
        assert not two.done(step())
    finish(one, step(), tokens=9)
    two.refresh()
    assert two.record(step()).summary == GenerateSummary(n=1, tokens=9)


def test_a_shard_that_is_merged_while_another_machine_brings_it_is_left_out(s3, tmp_path: Path, monkeypatch):
    one = ObjectStore("s3://studies/one")
    monkeypatch.setenv("WHICHBITS_CACHE", str(tmp_path / "two"))
    two = ObjectStore("s3://studies/one")
    finish(one, step())
    download = Objects.download

    def merged_meanwhile(self, *given):
        one.discard([(step().kind, step().key)])
        return download(self, *given)

    monkeypatch.setattr(Objects, "download", merged_meanwhile)
    two.refresh()
    assert two.record(step()).state == "missing"


def test_what_a_stopped_run_has_written_of_the_study_is_others_to_read(machines):
    one, two = machines.store("one"), machines.store("two")
    with pytest.raises(KeyboardInterrupt), one.locked():
        (one.folder / "study.json").write_text("{}")
        raise KeyboardInterrupt
    two.refresh()
    assert (two.folder / "study.json").read_text() == "{}"


def test_a_damaged_object_is_named_and_a_foreign_one_holds_no_lease(s3):
    store = ObjectStore("s3://studies/one")
    store._objects.write(name := f"steps/generate/{step().key}.json", b"{garbage")
    for read in (store.refresh, lambda: store.done(step()), lambda: store.record(step())):
        with pytest.raises(UserError, match=name):
            read()
    store._objects.delete([name])
    store._objects.write("leases/study/notes.txt", b"of a person")
    with store.locked():
        pass
    assert store._objects.read("leases/study/notes.txt") == b"of a person"


def test_a_step_that_ends_once_its_run_was_taken_for_ended_is_no_result(s3, monkeypatch):
    store = ObjectStore("s3://studies/one")
    write = ObjectStore._write_result

    def swept_then(self, one, partial, *given):
        write(self, one, partial, *given)
        self._sweep_partial()

    monkeypatch.setattr(ObjectStore, "_write_result", swept_then)
    with pytest.raises(FileNotFoundError):
        finish(store, step())
    assert not store.done(step())


def test_denied_access_names_the_address(s3, monkeypatch):
    store = ObjectStore("s3://studies/one")

    def deny(*_: object, **__: object) -> None:
        raise PermissionError("Access Denied")

    monkeypatch.setattr(objects.file_system(os.getpid()), "find", deny)
    with pytest.raises(PermissionError) as raised:
        store.refresh()
    assert raised.value.filename == "s3://studies/one"


def test_a_run_s_report_is_another_machine_s_to_read(machines):
    one = machines.store("one")
    with one.locked():
        (one.folder / "study.json").write_text("{}")
        finish(one, step())
    two = machines.store("two")
    two.refresh()
    assert (two.folder / "study.json").read_text() == "{}"
    assert (two.directory(step()) / "result.json").is_file()


# In S3 alone


@pytest.mark.parametrize("fault", ["refused", "request cut", "answer cut", "answer lost", "slow"])
def test_what_fails_in_passing_is_tried_again_and_counts_once(s3, tmp_path: Path, monkeypatch, fault):
    store = ObjectStore(f"s3://studies/{tmp_path.name}")
    s3.faults += [fault] * 3
    finish(store, step(), artifact=WEIGHTS)
    monkeypatch.setenv("WHICHBITS_CACHE", str(tmp_path / "other"))
    other = ObjectStore(f"s3://studies/{tmp_path.name}")
    s3.faults += [fault] * 3
    assert other.done(step())
    assert (other.fetched(step()) / "checkpoint" / "weights").read_bytes() == WEIGHTS
    assert s3.made.count(fault) == 6
    assert len(store._objects.names("steps")) == 1


def test_a_store_that_is_not_to_be_had_for_long_is_an_error_and_leaves_nothing(s3, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(objects, "PATIENCE_S", 0.5)
    store = ObjectStore(f"s3://studies/{tmp_path.name}")
    s3.faults += ["refused"] * 50
    with pytest.raises(OSError, match="does not answer"):
        finish(store, step())
    s3.faults.clear()
    assert store._objects.names("") == []
    assert not store.done(step())
    finish(store, step())
    assert store.record(step()).state == "done"


def test_what_a_killed_attempt_has_written_is_never_read_and_swept_in_time(s3, tmp_path: Path, monkeypatch):
    store = ObjectStore(f"s3://studies/{tmp_path.name}")
    partial = store.partial(step())
    (partial / "items.parquet").write_bytes(b"half")
    store._objects.upload(partial / "items.parquet", f"files/generate-{step().key}/attempt/items.parquet")
    assert not store.done(step())
    with store.locked():
        finish(store, step(2))
        assert len(store._objects.names("files")) == 4  # a machine that is cut off might still finish it
    monkeypatch.setattr(object_store, "ABANDONED_S", -1.0)
    with store.locked():
        assert [name for name in store._objects.names("files") if "attempt" in name] == []
    assert len(store._objects.names("files")) == 3


def test_of_many_that_want_a_lease_at_once_one_gets_it(s3):
    found, ready, tried = Objects("s3://studies/leases"), threading.Barrier(6, timeout=60), threading.Barrier(6, timeout=60)

    def want(_: int) -> bool:
        ready.wait()
        try:
            with object_lease.leased(found, "leases/study"):
                tried.wait()
                return True
        except LeaseHeld:
            tried.wait()
            return False

    for _ in range(2):
        with ThreadPoolExecutor(6) as pool:
            assert sum(pool.map(want, range(6))) == 1


def test_a_silent_holder_is_followed_by_the_object_stores_clock_and_knows_it(s3, monkeypatch):
    found = Objects("s3://studies/silent")
    monkeypatch.setattr(lease.Holder, "ended", property(lambda holder: False))  # as of another machine
    monkeypatch.setattr(lease, "RENEWED_S", 3600.0)
    with object_lease.leased(found, "leases/study") as first:
        with pytest.raises(LeaseHeld), object_lease.leased(found, "leases/study"):
            pass
        monkeypatch.setattr(object_lease, "LONGEST_SILENCE_S", -1.0)
        with object_lease.leased(found, "leases/study") as second:
            assert not first.renew()
            assert second.renew()


def test_a_holder_of_this_machine_that_has_ended_is_followed_at_once(s3, monkeypatch):
    found = Objects("s3://studies/ended")
    gone = lease.this_process().model_copy(update={"started": 1})
    assert gone.ended
    found.create("leases/study/000000001.json", gone.model_dump_json().encode())
    with object_lease.leased(found, "leases/study") as own:
        assert own.renew()
    assert object_lease.held(found, "leases/study") is None


def test_a_folder_whose_first_object_comes_while_it_is_listed_is_no_object(s3, monkeypatch):
    found, connection = Objects("s3://studies/between"), objects.file_system(os.getpid())
    listed = connection._lsdir

    async def and_then_written(path: str, **options: object) -> list[object]:
        seen = await listed(path, **options)
        if not seen:
            await connection._pipe_file("studies/between/leases/000000001.json", b"first")
        return seen

    monkeypatch.setattr(connection, "_lsdir", and_then_written)
    assert found.names("leases") == []
    assert found.names("leases") == ["leases/000000001.json"]


def test_a_folder_may_be_an_address_too(tmp_path: Path):
    assert open_store(f"file://{tmp_path}/a%20store").folder == tmp_path / "a store"
    assert open_folder(f"file://{tmp_path}").folder == tmp_path
    with pytest.raises(UserError, match="store: "):
        open_folder("s3://bucket/folder")


def test_the_doctor_reads_and_writes_an_object_store(s3, monkeypatch):
    monkeypatch.setattr(objects, "PATIENCE_S", 1.0)
    found = {check.name: check.status for check in whichbits.doctor("s3://studies/one")}
    assert found["store"] == "ok"
    assert not [name for name in ObjectStore("s3://studies/one")._objects.names("") if name.startswith("probes/")]
    assert {check.name: check.status for check in whichbits.doctor("s3://nowhere/one")}["store"] == "fail"


@pytest.mark.parametrize("place", ["s3://bucket", "s3://", "gs://bucket/folder", "file://", "file:///", "file://host/folder"])
def test_an_address_that_is_none_is_refused(place):
    with pytest.raises(UserError, match="store: "):
        open_store(place)


def test_a_bucket_that_is_not_there_is_said(s3):
    with pytest.raises(UserError, match="bucket"), open_store("s3://nowhere/mine").locked():
        pass
