"""The runner, with real processes and small functions in place of those of a study."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from whichbits.engines.errors import ServerUnreachable
from whichbits.schema.inputs import Inputs
from whichbits.schema.labels import Labels
from whichbits.schema.provenance import Provenance
from whichbits.schema.step import Step
from whichbits.schema.summary import Summary
from whichbits.studies.execution.local import LocalExecutor
from whichbits.studies.execution.placement import Machine
from whichbits.studies.execution.runner import Runner
from whichbits.studies.planning.plan import Plan, Served
from whichbits.studies.specification.schema import Specification
from whichbits.studies.steps.planned import COMPUTE, Needs, Planned, client, measurement
from whichbits.studies.steps.step import Job, Kind, Result, ServerFailed, StepContext
from whichbits.studies.steps.study import Study
from whichbits.studies.store.place import open_store
from whichbits.studies.store.store import Store


class Given(Inputs, extra="allow"):
    """Inputs of a kind of step that only tests know."""


SPECIFICATION = Specification.model_validate({"version": 1, "name": "test", "model": "m", "candidates": ["x"]})


class Total(Summary, kind="add"):
    total: int
    pid: int


class Odd(Summary, kind="misbehave"):
    x: float = 0.0


class Asked(Summary, kind="ask"):
    addresses: tuple[str, ...]


class Seen(Summary, kind="variable"):
    found: str | None


def add(jobs: Sequence[Job], context: StepContext) -> Iterator[tuple[Job, Result]]:
    """Sum of its own input and what it reads."""
    for job in jobs:
        total = job.step.inputs.value
        for folder in job.reads.values():
            total += int((folder / "total").read_text())
        (job.directory / "total").write_text(str(total))
        context.progress("adding")
        yield job, Result(Total(total=total, pid=os.getpid()))


def misbehave(jobs: Sequence[Job], context: StepContext) -> Iterator[tuple[Job, Result | Exception]]:
    for job in jobs:
        match job.step.inputs.how:
            case "raise":
                raise ValueError("a cause\nin two lines")
            case "die":
                os.kill(os.getpid(), signal.SIGKILL)
            case "one":
                yield job, ValueError("only this one")
            case "nan":
                yield job, Result(Odd(x=float("nan")))
            case "die asking":
                threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGKILL)).start()
                context.server(job.servers[0])
            case "die once filed":
                filed = Store(Path(str(job.step.inputs.store)))
                filed.finish(job.step, job.directory, Odd(), Provenance())
                os.kill(os.getpid(), signal.SIGKILL)
            case "fine":
                yield job, Result(Odd())


def ask(jobs: Sequence[Job], context: StepContext) -> Iterator[tuple[Job, Result]]:
    for job in jobs:
        yield job, Result(Asked(addresses=tuple(context.server(name) for name in job.servers)))


def hang(jobs: Sequence[Job], context: StepContext) -> Iterator[tuple[Job, Result]]:
    """The first of its servers does not answer."""
    for job in jobs:
        address = context.server(job.servers[0])
        if job.step.inputs.value == 0:
            raise ServerUnreachable(f"{address} did not answer in time (ReadTimeout)")
        yield job, Result(Asked(addresses=(address,)))


def variable(jobs: Sequence[Job], context: StepContext) -> Iterator[tuple[Job, Result]]:
    for job in jobs:
        yield job, Result(Seen(found=os.environ.get("WHICHBITS_TEST")))


@dataclass
class FakeServer:
    url: str
    dead: str | None = None

    def failure(self) -> str | None:
        return self.dead


@dataclass
class FakeServers:
    """Counts what is opened and closed."""

    resident: int = 2
    broken: str | None = None
    mortal: str | None = None
    """Whose servers die as soon as they are up."""
    start_s: float = 0.0
    events: list[str] = field(default_factory=list)

    @contextmanager
    def serve(self, name: str, checkpoint: Path, stopping: threading.Event) -> Iterator[FakeServer]:
        if name == self.broken:
            self.events.append(f"refuse {name}")
            raise ServerFailed("no kernel for this format")
        if stopping.wait(self.start_s):
            raise ServerFailed("stopped while it started")
        self.events.append(f"open {name}")
        try:
            yield FakeServer(f"http://{name}", "out of memory" if name == self.mortal else None)
        finally:
            self.events.append(f"close {name}")


@dataclass
class Quiet:
    ends: list[tuple[str, str, str | None]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def started(self, step: Step) -> None: ...
    def progress(self, step: Step, text: str) -> None: ...
    def ended(self, step: Step, state: str, seconds: float, error: str | None, addresses: Sequence[str] = ()) -> None:
        self.ends.append((step.labels.candidate or step.kind, state, error))

    def note(self, text: str) -> None:
        self.notes.append(text)


def unplanned(study: Study, before: Sequence[Planned]) -> Iterator[Planned]:
    """The plans of these tests are made by hand."""
    return iter(())


def runner(tmp_path: Path, steps: Sequence[Planned], servers: FakeServers | None = None, names: Sequence[str] = ()) -> Runner:
    plan = Plan(SPECIFICATION, "bf16", tuple(steps), {name: Served(name, folder=tmp_path) for name in names})
    kinds = {run.__name__: Kind(run.__name__, 1, unplanned, run) for run in (add, misbehave, ask, hang, variable, count)}
    return Runner(plan, Store(tmp_path / "store"), kinds, LocalExecutor(), servers or FakeServers(), Quiet())


class Counted(Summary, kind="count"):
    new: int


def count(jobs: Sequence[Job], context: StepContext) -> Iterator[tuple[Job, Result]]:
    """How many items it had to compute."""
    for job in jobs:
        yield job, Result(Counted(new=int(job.step.items or 0) - (job.earlier.items if job.earlier else 0)))


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


def test_a_server_that_does_not_answer_in_time_is_started_anew_for_the_next_that_asks_it(tmp_path: Path):
    steps = [Planned(Step("hang", 1, Given(value=value)), client("a")) for value in range(3)]
    servers = FakeServers()
    run = runner(tmp_path, steps, servers, ["a"])
    states = run.run()
    assert [states[planned.step.key] for planned in steps] == ["failed", "done", "done"]
    assert [error for _, _, error in run.observer.ends] == [
        "ServerUnreachable: http://a did not answer in time (ReadTimeout)", None, None,
    ]  # fmt: skip
    assert servers.events == ["open a", "close a", "open a", "close a"]


def test_a_job_has_the_environment_of_the_time_when_it_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for number, value in enumerate(["first", "second", None]):
        if value is None:
            monkeypatch.delenv("WHICHBITS_TEST")
        else:
            monkeypatch.setenv("WHICHBITS_TEST", value)
        planned = Planned(Step("variable", 1, Given(number=number)))
        running = runner(tmp_path, [planned])
        running.run()
        assert running.store.record(planned.step).summary == Seen(found=value)


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


@pytest.mark.parametrize(("kind", "servers"), [("refuse", {"broken": "a"}), ("open", {"mortal": "a"})])
def test_a_server_that_fails_twice_is_not_started_again_in_this_run(tmp_path: Path, kind: str, servers: dict[str, str]):
    steps = [asking("a", number) for number in range(4)]
    starts = FakeServers(**servers)
    run = runner(tmp_path, [*steps, asking("b", 0)], starts, ["a", "b"])
    states = run.run()
    assert [states[planned.step.key] for planned in steps] == ["failed"] * 4
    assert sum(state == "done" for state in states.values()) == 1
    assert starts.events.count(f"{kind} a") == 2
    assert "failed 2 times" in str(run.store.record(steps[-1].step).error)
    again = FakeServers(**servers)
    runner(tmp_path, steps, again, ["a"]).run()
    assert again.events.count(f"{kind} a") == 2


def test_a_failed_step_is_tried_again_by_the_next_run(tmp_path: Path):
    bad = Planned(Step("misbehave", 1, Given(how="raise")))
    runner(tmp_path, [bad]).run()
    again = runner(tmp_path, [bad])
    again.run()
    assert len(again.observer.ends) == 1


def asking(name: str, value: int, needs: Needs | None = None) -> Planned:
    step = Step("ask", 1, Given(name=name, value=value), labels=Labels(candidate=f"{name}{value}"))
    return Planned(step, needs or client(name))


def test_steps_that_need_the_same_server_share_one_start(tmp_path: Path):
    servers = FakeServers()
    run = runner(tmp_path, [asking("a", 1), asking("b", 1), asking("a", 2)], servers, ["a", "b"])
    assert set(run.run().values()) == {"done"}
    assert servers.events == ["open a", "close a", "open b", "close b"]


def test_a_server_stays_up_for_what_comes_later(tmp_path: Path):
    servers = FakeServers()
    run = runner(tmp_path, [asking("a", 1), asking("b", 1)], servers, ["a", "b"])
    parts = iter([[], [asking("a", 1)], [asking("a", 2)], [asking("a", 3)]])
    run.more = lambda: next((replace(run.plan, steps=tuple(part)) for part in parts), None)
    assert set(run.run().values()) == {"done"}
    assert len(run.observer.ends) == 4
    assert servers.events.count("open a") == servers.events.count("open b") == 1
    assert servers.events[-1] == "close a"


def test_servers_that_a_measurement_session_needs_stay_up(tmp_path: Path):
    servers = FakeServers()
    steps = [asking("a", 1), asking("b", 1), asking("a", 3, measurement("a", "b")), asking("b", 3, measurement("a", "b"))]
    run = runner(tmp_path, steps, servers, ["a", "b"])
    assert set(run.run().values()) == {"done"}
    assert servers.events[:2] == ["open a", "open b"]
    assert sorted(servers.events[2:]) == ["close a", "close b"]
    assert run.store.record(steps[2].step).summary == Asked(addresses=("http://a", "http://b"))


def test_with_room_for_one_server_the_other_gives_way(tmp_path: Path):
    servers = FakeServers(resident=1)
    run = runner(tmp_path, [asking("a", 3, measurement("a", "b"))], servers, ["a", "b"])
    run.run()
    assert servers.events == ["open a", "close a", "open b", "close b"]


def test_a_server_that_does_not_start_fails_its_steps_with_its_cause(tmp_path: Path):
    run = runner(tmp_path, [asking("a", 1), asking("b", 1)], FakeServers(broken="a"), ["a", "b"])
    run.run()
    assert {name: (state, error) for name, state, error in run.observer.ends} == {
        "a1": ("failed", "no kernel for this format"),
        "b1": ("done", None),
    }


def test_a_step_that_dies_while_its_server_starts_stops_no_other(tmp_path: Path):
    dies = Planned(Step("misbehave", 1, Given(how="die asking"), labels=Labels(candidate="dies")), client("a"))
    run = runner(tmp_path, [dies, asking("b", 1)], FakeServers(start_s=1.0), ["a", "b"])
    run.run()
    ends = {name: (state, error) for name, state, error in run.observer.ends}
    assert ends["b1"] == ("done", None)
    assert ends["dies"][0] == "failed"
    assert "killed by SIGKILL" in str(ends["dies"][1])


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


def test_on_an_accelerator_what_computes_has_its_memory_before_servers_start(tmp_path: Path):
    late = Planned(Step("add", 1, Given(value=2), {"x": asking("a", 1).step.key}), reads={"x": asking("a", 1).step})
    servers = FakeServers(resident=1)
    steps = [asking("a", 1), Planned(Step("add", 1, Given(value=1))), late, asking("a", 3, measurement("a", "b"))]
    made = runner(tmp_path, steps, servers, ["a", "b"])
    made.machine = Machine(accelerator=True)
    made.kinds = {**made.kinds, "add": Kind("add", 1, unplanned, computed)}
    began: list[str] = servers.events
    made.observer.started = lambda step: began.append(step.kind)  # type: ignore[method-assign]
    assert set(made.run().values()) == {"done"}
    assert began == ["add", "ask", "open a", "close a", "add", "ask", "open a", "close a", "open b", "close b"]


def computed(jobs: Sequence[Job], context: StepContext) -> Iterator[tuple[Job, Result]]:
    """Its own input, whatever it reads."""
    for job in jobs:
        yield job, Result(Total(total=job.step.inputs.value, pid=os.getpid()))


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


def test_a_failed_candidate_leaves_the_base_s_server_to_the_session(tmp_path: Path):
    bad = Planned(Step("misbehave", 1, Given(how="raise")))
    lost = Step("ask", 1, Given(name="b", value=9), {"x": bad.step.key})
    servers = FakeServers()
    steps = [asking("a", 1), bad, Planned(lost, measurement("a", "b"), {"x": bad.step}), asking("a", 3, measurement("a"))]
    made = runner(tmp_path, steps, servers, ["a", "b"])
    made.run()
    assert servers.events == ["open a", "close a"]


def test_a_step_that_is_filed_is_done_though_its_process_dies_before_it_says_so(tmp_path: Path):
    step = Planned(Step("misbehave", 1, Given(how="die once filed", store=str(tmp_path / "store"))))
    made = runner(tmp_path, [step])
    assert made.run() == {step.step.key: "done"}
    assert made.store.record(step.step).error is None


def test_ctrl_c_does_not_wait_for_a_server_that_starts(tmp_path: Path):
    made = runner(tmp_path, [asking("a", 1)], FakeServers(start_s=120.0), ["a"])
    notes = made.observer.notes

    def press() -> None:
        while not notes:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press).start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        made.run()
    assert time.monotonic() - began < 100
    assert not made.store.done(made.plan.steps[0].step)
