"""A study whose evaluations and generations run in shards comes to what it comes to without."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import whichbits
from benchmarks.interrupted import finished
from tests.studies.conftest import Machines
from whichbits.api.study import Outcome
from whichbits.core.errors import UserError
from whichbits.schema.step import Step
from whichbits.studies.planning.planner import Expansion
from whichbits.studies.specification.schema import parse
from whichbits.studies.steps.registry import KINDS
from whichbits.studies.steps.step import Job
from whichbits.studies.store.shards import stored_shards
from whichbits.studies.store.store import Store
from whichbits.studies.study import set_aside_measured

pytest.importorskip("torch")
pytest.importorskip("lm_eval")

SPECIFICATION = """\
version: 1
name: split
model: {model}
candidates:
  - {{format: w8a8-int, recipe: {{scales: minmax}}, run: emulated}}
tasks: [{{name: order, limit: {limit}}}]
base_repeats: 1
max_length: 128
{more}
"""
SHARDS = ("evaluate_shard", "generate_shard")


def written(tmp_path: Path, model: Path, name: str, *, shards: int | None, limit: int = 12, more: str = "") -> Path:
    file = tmp_path / f"{name}.yaml"
    executor = f"executor: {{shards: {shards}}}\n" if shards else ""
    file.write_text(SPECIFICATION.format(model=model, limit=limit, more=executor + more))
    return file


def run(tmp_path: Path, model: Path, store: str, **how: Any) -> Outcome:
    return whichbits.study(written(tmp_path, model, store, **how), store=tmp_path / store, quiet=True)


def numbers(tmp_path: Path, store: str) -> Any:
    """The verdict, but for what says when, how long and where."""

    def of(value: Any) -> Any:
        if isinstance(value, dict):
            left_out = ("seconds", "finished_at", "command", "store", "version", "notes")
            return {name: of(each) for name, each in value.items() if name not in left_out}
        return [of(each) for each in value] if isinstance(value, list) else value

    return of(json.loads((tmp_path / store / "verdict.json").read_text()))


@pytest.fixture(scope="module")
def whole(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study in a store `whole`, that ran without shards."""
    folder = tmp_path_factory.mktemp("without-shards")
    assert run(folder, tiny_llama, "whole", shards=None).failed == 0
    return folder


def test_verdict_results_and_places_are_those_of_a_study_without_shards(whole: Path, tmp_path: Path, tiny_llama: Path) -> None:
    split = run(tmp_path, tiny_llama, "split", shards=2)
    assert split.failed == 0
    assert finished(tmp_path / "split") == finished(whole / "whole")
    assert numbers(tmp_path, "split") == numbers(whole, "whole")
    assert stored_shards(tmp_path / "split", SHARDS) == []
    log = (tmp_path / "split" / "run.log").read_text()
    assert "evaluate_shard w8a8-int · order · emulated · shard 2 of 2" in log
    again = run(tmp_path, tiny_llama, "split", shards=2)
    assert again.failed == 0 and log == (tmp_path / "split" / "run.log").read_text(), "nothing is left to run"


def test_jobs_that_each_run_a_shard_or_a_merge_come_to_what_one_run_comes_to(
    whole: Path, tmp_path: Path, tiny_llama: Path
) -> None:
    store = tmp_path / "jobs"
    jobs = whichbits.plan_jobs(written(tmp_path, tiny_llama, "jobs", shards=3), store=store).parent
    stages = [[line.split() for line in path.read_text().splitlines()] for path in sorted(jobs.glob("stage-*.txt"))]
    kinds = [[end.kind for keys in stage for end in whichbits.run_step(store, keys, quiet=True)] for stage in stages]
    # The base in three shards; its merge, and the candidate in three; the candidate's merge.
    shards = ["evaluate_shard"] * 3
    assert [sorted(stage) for stage in kinds] == [[*shards, "quantize"], ["evaluate", *shards], ["evaluate"]]
    assert finished(store) == finished(whole / "whole")
    assert stored_shards(store, SHARDS) == []


def test_a_merge_waits_for_its_shards_and_shards_begun_are_gone_on_with(tmp_path: Path, tiny_llama: Path) -> None:
    file, store = written(tmp_path, tiny_llama, "begun", shards=2), tmp_path / "begun"
    base, shards = planned_shards(file)
    whichbits.plan_jobs(file, store=store)
    with pytest.raises(UserError, match="reads evaluate_shard"):
        whichbits.run_step(store, [base.key], quiet=True)
    assert [end.state for end in whichbits.run_step(store, [shards[0].key], quiet=True)] == ["done"]
    jobs = whichbits.plan_jobs(written(tmp_path, tiny_llama, "begun", shards=5), store=store).parent
    first = (jobs / "stage-1.txt").read_text().split()
    assert shards[1].key in first and shards[0].key not in first and len(first) == 2, "the other half, and the checkpoint"
    assert [end.state for end in whichbits.run_step(store, [shards[1].key, base.key], quiet=True)] == ["done", "done"]
    assert Store(store).done(base) and stored_shards(store, SHARDS) == []


@pytest.mark.nightly
def test_more_items_run_what_is_new_alone_in_shards(whole: Path, tmp_path: Path, tiny_llama: Path) -> None:
    run(tmp_path, tiny_llama, "grown", shards=1, limit=6)
    run(tmp_path, tiny_llama, "grown", shards=2, limit=12)
    found = finished(tmp_path / "grown")
    assert {place: step for place, step in found.items() if not place.endswith("/6")} == finished(whole / "whole")
    grown = [json.loads(path.read_text())["provenance"] for path in tmp_path.glob("grown/steps/evaluate/*/12/result.json")]
    assert [(ran["shards"], ran["earlier_items"]) for ran in grown] == [(2, 6)] * 2


def in_background(tmp_path: Path, store: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "whichbits", "study", f"{store}.yaml", "--store", store]
    return subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=dict(os.environ)
    )


def test_a_killed_study_keeps_its_finished_shards_and_goes_on(whole: Path, tmp_path: Path, tiny_llama: Path) -> None:
    written(tmp_path, tiny_llama, "killed", shards=3)
    killed, folder = in_background(tmp_path, "killed"), tmp_path / "killed"
    deadline = time.monotonic() + 240
    while not (there := stored_shards(folder, SHARDS)):
        assert time.monotonic() < deadline and killed.poll() is None
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.wait(60)
    # With another number of shards an evaluation that has begun goes on in those that it has.
    written(tmp_path, tiny_llama, "killed", shards=2)
    again = in_background(tmp_path, "killed")
    said = again.communicate(timeout=300)[0]
    assert again.returncode == 0, said
    begun = [line for line in (folder / "run.log").read_text().splitlines() if " start " in line and "_shard" in line]
    names = [line.rsplit(" ", 1)[1] for line in begun]
    assert all(names.count(one.key[:12]) == 1 for one in there), "a finished shard runs once"
    assert any("shard 3 of 3" in line for line in begun) and any("shard 2 of 2" in line for line in begun)
    assert finished(folder) == finished(whole / "whole")


def test_measured_afresh_no_shard_of_before_is_used(tmp_path: Path, tiny_llama: Path) -> None:
    file = written(tmp_path, tiny_llama, "fresh", shards=2)
    store = Store(tmp_path / "fresh")
    whole, shards = planned_shards(file)
    answer(store, shards[0])
    assert [one.part.step for one in stored_shards(store.folder, SHARDS)] == [whole.key]
    set_aside_measured(Expansion(*parse(file.read_text(), str(file))).plan(), store)
    assert stored_shards(store.folder, SHARDS) == [] and not store.done(shards[0])


class Context:
    def progress(self, text: str) -> None: ...
    def server(self, name: str) -> str:
        raise AssertionError("nothing is served")


def planned_shards(file: Path, count: int = 2) -> tuple[Step, tuple[Step, ...]]:
    """The base's evaluation, and its shards."""
    steps = [planned.step for planned in Expansion(*parse(file.read_text(), str(file))).plan().steps]
    whole = next(step for step in steps if step.kind == "evaluate" and not step.reads)
    shards = KINDS["evaluate_shard"].shards
    assert shards is not None
    return whole, shards.split(whole, count)


def answer(store: Store, step: Step, shards: tuple[Step, ...] = ()) -> None:
    """Run a step, or the merge of its shards, as a worker does."""
    run = KINDS[step.kind].run if not shards else KINDS["evaluate_shard"].shards.merge  # type: ignore[union-attr]
    records = tuple(store.record(shard) for shard in shards)
    job = Job(step, store.partial(step), {}, shards=records)
    ((_, result),) = run([job], Context())
    assert not isinstance(result, Exception)
    store.finish(step, job.directory, result.summary, result.provenance)


def test_shards_in_a_folder_and_in_s3_are_merged_on_any_machine_and_removed(
    machines: Machines, tmp_path: Path, tiny_llama: Path
) -> None:
    whole, shards = planned_shards(written(tmp_path, tiny_llama, "t", shards=3), 3)
    for number, shard in enumerate(shards):
        answer(machines.store(f"machine {number}"), shard)
    store = machines.store("merges")
    assert all(store.done(shard) for shard in shards)
    answer(store, whole, shards)
    store.discard([(shard.kind, shard.key) for shard in shards])
    answer(alone := Store(tmp_path / "alone"), whole)
    assert (finished(store.folder), store.done(shards[0])) == (finished(alone.folder), False)
    another = machines.store("another")
    assert another.done(whole) and not any(another.done(shard) for shard in shards)


def test_a_task_that_asks_all_items_anew_the_base_s_further_runs_and_addresses_stay_whole(
    tmp_path: Path, tiny_llama: Path
) -> None:
    shards = KINDS["evaluate_shard"].shards
    assert shards is not None
    whole, found = planned_shards(written(tmp_path, tiny_llama, "t", shards=3, limit=9), 20)
    assert len(found) == 9, "no more shards than items"
    inputs: Any = whole.inputs
    again = Step("evaluate", 2, inputs.model_copy(update={"repeat": 1}), local=whole.local, items=9)
    assert shards.split(again, 3) == ()
    there = {"kind": "url", "max_length": 8, "concurrency": 4}
    served = Step(
        "evaluate", 2, type(inputs).model_validate({**inputs.model_dump(by_alias=False), "engine": there}), local=whole.local
    )
    assert shards.split(served, 3) == ()


def test_no_shards_are_no_number_of_them(tmp_path: Path, tiny_llama: Path) -> None:
    with pytest.raises(UserError, match=r"executor\.shards"):
        parse(SPECIFICATION.format(model=tiny_llama, limit=4, more="executor: {shards: 0}"), "t.yaml")
