"""The runner, with real processes and small functions in place of those of a study."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.studies.execution.fake_study import Counted, Given, Seen, Total, runner, unplanned
from whichbits.schema.inputs import Inputs
from whichbits.schema.labels import Labels
from whichbits.schema.step import Step
from whichbits.schema.summary import Summary
from whichbits.studies.execution.placement import Machine
from whichbits.studies.steps.planned import COMPUTE, Needs, Planned, client, measurement
from whichbits.studies.steps.step import Job, Kind, Result, StepContext
from whichbits.studies.store.place import open_store


def test_more_items_are_more_work_only_by_what_is_new(tmp_path: Path):
    for items, new in ((5, 5), (8, 3), (8, 3), (20, 12)):
        step = Step("count", 1, Given(task="a"), items=items)
        run = runner(tmp_path, [Planned(step)])
        assert set(run.run().values()) == {"done"}
        assert run.store.record(step).summary == Counted(new=new)


def test_steps_run_after_what_they_read_each_in_its_own_process_and_only_once(tmp_path: Path):
    one = Planned(Step("add", 1, Given(value=1)))
    two = Planned(Step("add", 1, Given(value=2), {"left": one.step.key}), reads={"left": one.step})
    three = Planned(
        Step("add", 1, Given(value=3), {"l": one.step.key, "r": two.step.key}), reads={"l": one.step, "r": two.step}
    )
    first = runner(tmp_path, [one, two, three])
    assert set(first.run().values()) == {"done"}
    summaries = [first.store.record(planned.step).summary for planned in (one, two, three)]
    assert [summary.total for summary in summaries] == [1, 3, 7]
    assert len({os.getpid(), *(summary.pid for summary in summaries)}) == 4
    again = runner(tmp_path, [one, two, three])
    again.run()
    assert again.observer.ends == []


def test_what_one_machine_has_run_on_a_store_in_s3_another_goes_on_with(
    tmp_path: Path, s3: object, monkeypatch: pytest.MonkeyPatch
):
    """Each has a cache of its own, and so a copy of its own; the steps' processes write and read the objects."""
    one = Planned(Step("add", 1, Given(value=1)))
    two = Planned(Step("add", 1, Given(value=2), {"left": one.step.key}), reads={"left": one.step})
    three = Planned(Step("add", 1, Given(value=4), {"left": two.step.key}), reads={"left": two.step})
    ran = []
    for machine, steps in (("a", [one, two]), ("b", [one, two, three])):
        monkeypatch.setenv("WHICHBITS_CACHE", str(tmp_path / machine))
        run = runner(tmp_path, steps)
        run.store = open_store(f"s3://studies/{tmp_path.name}")
        with run.store.locked():
            assert set(run.run().values()) == {"done"}
        ran.append(len(run.observer.ends))
    assert ran == [2, 1]
    assert run.store.record(three.step).found(Total).total == 7


def seen(name: str, number: int, folder: Path) -> Summary:
    """A variable of the environment as a job sees it."""
    planned = Planned(Step("variable", 1, Given(name=name, number=number)))
    running = runner(folder, [planned])
    running.run()
    return running.store.record(planned.step).summary


def test_a_job_has_the_environment_of_the_time_when_it_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for number, value in enumerate(["first", "second", None]):
        if value is None:
            monkeypatch.delenv("WHICHBITS_TEST")
        else:
            monkeypatch.setenv("WHICHBITS_TEST", value)
        assert seen("WHICHBITS_TEST", number, tmp_path) == Seen(found=value)


def test_a_job_waits_for_no_other_where_the_study_was_started_by_torchrun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert seen("WORLD_SIZE", 0, tmp_path) == Seen(found=None)


def test_one_failure_stops_only_what_needs_it(tmp_path: Path):
    bad = Planned(Step("misbehave", 1, Given(how="raise"), labels=Labels(candidate="bad")))
    needs = Planned(Step("add", 1, Given(value=1), {"x": bad.step.key}, Labels(candidate="needs")), reads={"x": bad.step})
    fine = Planned(Step("add", 1, Given(value=5), labels=Labels(candidate="fine")))
    run = runner(tmp_path, [bad, needs, fine])
    states = run.run()
    assert states == {bad.step.key: "failed", needs.step.key: "failed", fine.step.key: "done"}
    causes = {name: error for name, _, error in run.observer.ends}
    assert causes["bad"] == "ValueError: a cause in two lines"
    assert causes["needs"] == "needs misbehave of bad, which failed"


@pytest.mark.parametrize(
    ("how", "cause"), [("die", "killed by SIGKILL"), ("nan", "not JSON compliant"), ("one", "only this one")]
)
def test_every_way_to_fail_has_a_cause(tmp_path: Path, how: str, cause: str):
    bad = Planned(Step("misbehave", 1, Given(how=how)))
    run = runner(tmp_path, [bad])
    assert run.run() == {bad.step.key: "failed"}
    assert cause in str(run.store.record(bad.step).error)


def test_a_failed_step_is_tried_again_by_the_next_run(tmp_path: Path):
    bad = Planned(Step("misbehave", 1, Given(how="raise")))
    runner(tmp_path, [bad]).run()
    again = runner(tmp_path, [bad])
    again.run()
    assert len(again.observer.ends) == 1


class Paired(Summary, kind="pair"):
    pid: int
    together: int


def pair(jobs: Sequence[Job], context: StepContext) -> Iterator[tuple[Job, Result]]:
    """Each leaves a file where it is to outlive a kill, and the first a killed run would leave."""
    for job in jobs:
        assert job.kept is not None
        assert job.shared is not None
        job.kept.mkdir(parents=True)
        yield job, Result(Paired(pid=os.getpid(), together=len(jobs)))


def test_steps_that_share_work_run_in_one_process_and_keep_nothing_once_done(tmp_path: Path):
    steps = [Planned(Step("pair", 1, Given(value=value, work=value % 2))) for value in range(4)]
    alone = [Planned(Step("pair", 1, Given(value=value, work=None))) for value in (4, 5)]
    made = runner(tmp_path, [*steps, *alone])
    work = Kind("pair", 1, unplanned, pair, together=lambda step: None if step.inputs.work is None else str(step.inputs.work))
    made.kinds = {"pair": work}
    left = made.store.folder / "unfinished" / "pair-0000"  # of a step that is no longer in the plan
    left.mkdir(parents=True)
    made.store.sweep(planned.step for planned in made.plan.missing(made.store))
    assert set(made.run().values()) == {"done"}
    summaries = [made.store.record(planned.step).summary for planned in (*steps, *alone)]
    assert [summary.together for summary in summaries] == [2, 2, 2, 2, 1, 1]
    assert summaries[0].pid == summaries[2].pid != summaries[1].pid == summaries[3].pid
    assert list((made.store.folder / "unfinished").iterdir()) == []


def test_a_run_of_other_steps_leaves_what_an_unfinished_one_keeps(tmp_path: Path):
    """As a study runs its probes first, which are a plan of their own."""
    unfinished = Step("quantize", 1, Inputs())
    made = runner(tmp_path, [Planned(Step("add", 1, Given(value=1)))])
    made.store.kept(unfinished).mkdir(parents=True)
    assert set(made.run().values()) == {"done"}
    assert made.store.kept(unfinished).is_dir()
    made.store.sweep([unfinished])
    assert made.store.kept(unfinished).is_dir()
    made.store.sweep([])
    assert not made.store.kept(unfinished).exists()


def test_what_a_failed_step_has_kept_stays_for_the_next_run(tmp_path: Path):
    step = Planned(Step("misbehave", 1, Given(how="raise")))
    made = runner(tmp_path, [step])
    made.store.kept(step.step).mkdir(parents=True)
    made.run()
    assert made.store.kept(step.step).is_dir()


class Beside(Summary, kind="meet"):
    met: bool


def meet(jobs: Sequence[Job], context: StepContext) -> Iterator[tuple[Job, Result]]:
    """Whether another step began while this one ran: each leaves a file, and waits a while for the other's."""
    for job in jobs:
        place = Path(str(job.step.inputs.folder))
        (place / str(job.step.inputs.n)).touch()
        deadline = time.monotonic() + float(job.step.inputs.wait_s)
        while len(list(place.iterdir())) < 2 and time.monotonic() < deadline:
            time.sleep(0.02)
        yield job, Result(Beside(met=len(list(place.iterdir())) == 2))


@pytest.mark.parametrize(
    ("needs", "accelerator", "met"),
    [
        ((COMPUTE, COMPUTE), False, True),
        ((COMPUTE, client("a")), False, True),
        ((client("a"), client("b")), False, False),
        ((COMPUTE, client("a")), True, False),
        ((COMPUTE, COMPUTE), True, False),
        ((COMPUTE, measurement("a")), False, False),
    ],
)
def test_the_machine_decides_what_runs_side_by_side(tmp_path: Path, needs: tuple[Needs, Needs], accelerator: bool, met: bool):
    (folder := tmp_path / "met").mkdir()
    inputs = [Given(folder=str(folder), n=n, wait_s=20.0 if met else 0.5) for n in range(2)]
    steps = [Planned(Step("meet", 1, each), need) for each, need in zip(inputs, needs, strict=True)]
    made = runner(tmp_path, steps, names=["a", "b"])
    made.kinds, made.machine = {"meet": Kind("meet", 1, unplanned, meet)}, Machine(accelerator=accelerator)
    assert set(made.run().values()) == {"done"}
    assert made.store.record(steps[0].step).found(Beside).met is met


def test_a_store_that_cannot_be_written_ends_the_run_and_kills_what_runs(tmp_path: Path):
    """The second step's result cannot be moved into place, as a file has its name."""
    broken, slow = Step("add", 1, Given(value=1)), Step("meet", 1, Given(folder=str(tmp_path / "met"), n=0, wait_s=900))
    (tmp_path / "met").mkdir()
    made = runner(tmp_path, [Planned(slow), Planned(broken)])
    made.kinds = {**made.kinds, "meet": Kind("meet", 1, unplanned, meet)}
    place = made.store.directory(broken)
    place.parent.mkdir(parents=True)
    place.touch()
    began = time.monotonic()
    with pytest.raises(OSError):
        made.run()
    assert time.monotonic() - began < 600
    assert not made.store.done(slow)


def test_work_that_ends_without_a_result_has_failed(tmp_path: Path):
    quiet = Planned(Step("misbehave", 1, Given(how="nothing")))
    made = runner(tmp_path, [quiet])
    assert made.run() == {quiet.step.key: "failed"}
    assert "ended without a result" in str(made.store.record(quiet.step).error)


def test_what_has_failed_in_this_command_is_not_tried_again(tmp_path: Path):
    bad = Planned(Step("misbehave", 1, Given(how="raise"), labels=Labels(candidate="bad")))
    needs = Planned(Step("add", 1, Given(value=1), {"x": bad.step.key}), reads={"x": bad.step})
    first = runner(tmp_path, [bad])
    failed = [key for key, state in first.run().items() if state == "failed"]
    again = runner(tmp_path, [bad, needs])
    again.failed = failed
    assert again.run() == {bad.step.key: "failed", needs.step.key: "failed"}
    assert [error for _, _, error in again.observer.ends] == ["needs misbehave of bad, which failed"]


def test_what_has_failed_is_not_tried_again_when_more_is_to_do(tmp_path: Path):
    made = runner(tmp_path, [Planned(Step("misbehave", 1, Given(how="raise")))])
    plans = iter([made.plan, made.plan])
    made.more = lambda: next(plans, None)
    assert set(made.run().values()) == {"failed"}
    assert len(made.observer.ends) == 1


def test_a_step_that_is_filed_is_done_though_its_process_dies_before_it_says_so(tmp_path: Path):
    step = Planned(Step("misbehave", 1, Given(how="die once filed", store=str(tmp_path / "store"))))
    made = runner(tmp_path, [step])
    assert made.run() == {step.step.key: "done"}
    assert made.store.record(step.step).error is None
