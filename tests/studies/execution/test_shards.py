"""How a run goes about a step in shards: what each of them waits for, what fails, and what the next run does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.studies.execution.fake_study import Given, Quiet, Total, asking, runner, unplanned
from whichbits.schema.labels import Labels
from whichbits.schema.shard import PartOf, Shard
from whichbits.schema.step import Step
from whichbits.schema.summary import Summary
from whichbits.studies.execution.local import LocalExecutor
from whichbits.studies.execution.runner import Runner
from whichbits.studies.planning.shards import Splitting
from whichbits.studies.steps.planned import Planned, client
from whichbits.studies.steps.step import Job, Kind, Result, Shards, StepContext
from whichbits.studies.store.shards import stored_shards


class Part(Summary, kind="add_shard"):
    total: int


def split(step: Step, count: int) -> tuple[Step, ...]:
    """Each adds as much, but for one that is told to fail."""
    found = []
    for index in range(count):
        shard = Shard(index=index, count=count)
        given = step.inputs_as(Given).model_copy(update={"part": PartOf(step=step.key, shard=shard)})
        found.append(Step("add_shard", 1, given, step.reads, step.labels.model_copy(update={"shard": str(shard)})))
    return tuple(found)


def add_shard(jobs: Sequence[Job], context: StepContext) -> Iterator[tuple[Job, Result]]:
    for job in jobs:
        given = job.step.inputs
        runs = Path(given.folder) / str(given.part.shard.index)
        runs.write_text(f"{runs.read_text() if runs.exists() else ''}x")
        if given.part.shard.index == given.fails and len(runs.read_text()) == 1:
            raise ValueError("no memory is left")
        address = context.server(job.servers[0]) if job.servers else ""
        (job.directory / "address").write_text(address)
        yield job, Result(Part(total=given.value))


def merge(jobs: Sequence[Job], context: StepContext) -> Iterator[tuple[Job, Result]]:
    for job in jobs:
        assert list(job.reads.values()) == [record.directory for record in job.shards]
        total = sum(record.found(Part).total for record in job.shards)
        (job.directory / "addresses").write_text(" ".join((folder / "address").read_text() for folder in job.reads.values()))
        yield job, Result(Total(total=total, pid=0), shards_s=100.0)


def in_shards(run: Runner, count: int, places: int = 1) -> Runner:
    """The runner, whose steps of the kind `add` are split."""
    kind = Kind("add_shard", 1, unplanned, add_shard, shards=Shards("add", split, merge))
    run.kinds = {**run.kinds, "add_shard": kind}
    run.executor = Several(places)
    run.split = Splitting(run.kinds, (), lambda step: None, count).split
    return run


class Several(LocalExecutor):
    """An executor that says how many places it has."""

    def __init__(self, places: int) -> None:
        super().__init__()
        self._places = places

    def places(self) -> int:
        return self._places


def planned(folder: Path, fails: int = -1, *servers: str) -> Planned:
    given = Given(value=2, folder=str(folder), fails=fails)
    return Planned(Step("add", 1, given, labels=Labels(candidate="a")), client(*servers))


def test_a_step_in_shards_has_one_result_and_its_shards_are_gone(tmp_path: Path) -> None:
    whole = planned(tmp_path)
    run = in_shards(runner(tmp_path, [whole, asking("a", 1)], names=["a"]), 3)
    states = run.run()
    assert states == {whole.step.key: "done", run.plan.steps[1].step.key: "done"}, "shards are counted with their step"
    record = run.store.record(whole.step)
    assert record.found(Total).total == 6
    assert (record.provenance.seconds or 0.0) >= 100.0, "its time is that of its shards"
    assert stored_shards(run.store.folder, ["add_shard"]) == []


def test_a_shard_that_fails_is_run_alone_by_the_next_run(tmp_path: Path) -> None:
    whole = planned(tmp_path, 1)
    run = in_shards(runner(tmp_path, [whole]), 3)
    assert run.run() == {whole.step.key: "failed"}
    assert run.store.record(whole.step).error == "ValueError: no memory is left"
    assert len(stored_shards(run.store.folder, ["add_shard"])) == 2
    again = in_shards(runner(tmp_path, [whole]), 3)
    assert again.run() == {whole.step.key: "done"}
    assert [(tmp_path / str(index)).read_text() for index in range(3)] == ["x", "xx", "x"]
    assert not run.store.failure(whole.step).exists()
    observer = again.observer
    assert isinstance(observer, Quiet) and len(observer.ends) == 2, "the shard and the merge"


def test_each_place_has_a_server_of_its_own(tmp_path: Path) -> None:
    whole = planned(tmp_path, -1, "a")
    run = in_shards(runner(tmp_path, [whole], names=["a"]), 4, places=2)
    assert run.run() == {whole.step.key: "done"}
    assert (run.store.directory(whole.step) / "addresses").read_text() == "http://a http://a#2 http://a http://a#2"
