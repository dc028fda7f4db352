"""When the runner starts servers, shares them and stops them."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.studies.execution.fake_study import Asked, FakeServer, FakeServers, Given, Total, asking, runner, unplanned
from whichbits.schema.labels import Labels
from whichbits.schema.step import Step
from whichbits.studies.execution.placement import Machine
from whichbits.studies.execution.servers import Servers
from whichbits.studies.planning.plan import Served
from whichbits.studies.steps.planned import Planned, client, measurement
from whichbits.studies.steps.step import Job, Kind, Result, ServerFailed, StepContext
from whichbits.studies.store.store import Store


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


def test_a_failed_candidate_leaves_the_base_s_server_to_the_session(tmp_path: Path):
    bad = Planned(Step("misbehave", 1, Given(how="raise")))
    lost = Step("ask", 1, Given(name="b", value=9), {"x": bad.step.key})
    servers = FakeServers()
    steps = [asking("a", 1), bad, Planned(lost, measurement("a", "b"), {"x": bad.step}), asking("a", 3, measurement("a"))]
    made = runner(tmp_path, steps, servers, ["a", "b"])
    made.run()
    assert servers.events == ["open a", "close a"]


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


def test_room_is_made_by_a_server_that_nobody_asks_and_a_candidate_can_have_several(tmp_path: Path):
    engine = FakeServers(resident=2)
    served = {name: Served(name, folder=tmp_path) for name in ("a", "b")}
    servers = Servers(served, Store(tmp_path / "store"), engine, lambda text: None, lambda: {"a"})
    assert [servers.address(name) for name in ("a", "b", "a#2")] == ["http://a", "http://b", "http://a#2"]
    assert engine.events == ["open a", "open b", "close b", "open a#2"]
    servers.close_all(of={"a"})
    assert engine.events[4:] == []
    servers.close_all(but={"a"})
    assert engine.events[4:] == ["close a#2"]


class Together(FakeServers):
    """Whose servers are up once so many are starting."""

    def __init__(self, count: int) -> None:
        super().__init__(resident=count, starting=count)
        self.barrier = threading.Barrier(count)

    @contextmanager
    def serve(self, name: str, served: Served, store: Store, stopping: threading.Event) -> Iterator[FakeServer]:
        self.barrier.wait(60)
        with super().serve(name, served, store, stopping) as server:
            yield server


def test_as_many_servers_start_at_once_as_there_are_machines_and_each_once(tmp_path: Path):
    engine = Together(2)
    served = {name: Served(name, folder=tmp_path) for name in ("a", "b")}
    servers = Servers(served, Store(tmp_path / "store"), engine, lambda text: None)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(servers.address, ["a", "b", "a", "b"])) == ["http://a", "http://b"] * 2
    assert sorted(engine.events) == ["open a", "open b"]


def test_on_one_machine_servers_start_one_after_another_and_never_more_than_fit(tmp_path: Path):
    served = {name: Served(name, folder=tmp_path) for name in "abcd"}
    engine = FakeServers(resident=2, start_s=0.05)
    servers = Servers(served, Store(tmp_path / "store"), engine, lambda text: None)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(servers.address, "abcd"))
    open_now = most = 0
    for event in engine.events:
        open_now += 1 if event.startswith("open") else -1
        most = max(most, open_now)
    assert (most, open_now) == (2, 2)
    with pytest.raises(ServerFailed, match="stopped"):
        servers.stop_starting()
        servers.address("a")
