"""Which work asks one server at the same time."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from whichbits.schema.inputs import Inputs
from whichbits.schema.labels import Labels
from whichbits.schema.step import Step
from whichbits.schema.summary import Summary
from whichbits.studies.execution.local import LocalExecutor
from whichbits.studies.execution.runner import Runner
from whichbits.studies.planning.plan import Plan, Served
from whichbits.studies.specification.schema import Specification
from whichbits.studies.steps.planned import Planned, client
from whichbits.studies.steps.step import Job, Kind, Result, StepContext
from whichbits.studies.steps.study import Study
from whichbits.studies.store.store import Store

SPECIFICATION = Specification.model_validate({"version": 1, "name": "test", "model": "m", "candidates": ["x"]})
WAITED_S = 5.0


class Given(Inputs):
    seconds: float
    number: int


class Asked(Summary, kind="asked"):
    began: float
    ended: float


def asked(jobs: Sequence[Job], context: StepContext) -> Iterator[tuple[Job, Result]]:
    for job in jobs:
        assert job.turns is not None
        began = time.monotonic()
        context.server(job.servers[0])
        time.sleep(job.step.inputs_as(Given).seconds)
        yield job, Result(Asked(began=began, ended=time.monotonic()), waited_s=WAITED_S)


def nothing(study: Study, before: Sequence[Planned]) -> Iterator[Planned]:
    return iter(())


@dataclass
class FakeServer:
    url: str = "http://a"

    def failure(self) -> str | None:
        return None


class FakeServers:
    resident = 2
    starting = 1

    @contextmanager
    def serve(self, name: str, served: Served, store: Store, stopping: threading.Event) -> Iterator[FakeServer]:
        yield FakeServer()


class Quiet:
    def added(self, steps: Sequence[Planned]) -> None: ...
    def started(self, step: Step) -> None: ...
    def progress(self, step: Step, text: str) -> None: ...
    def ended(self, step: Step, state: str, seconds: float, error: str | None, addresses: Sequence[str] = ()) -> None: ...
    def note(self, text: str) -> None: ...


def spans(folder: Path, *needs: tuple[str, int | None]) -> list[Asked]:
    """When work at these servers, with so many requests, was at work."""
    steps = [
        Planned(Step("asked", 1, Given(seconds=0.5, number=n), labels=Labels(candidate=name)), client(name, requests=requests))
        for n, (name, requests) in enumerate(needs)
    ]
    plan = Plan(SPECIFICATION, "bf16", tuple(steps), {name: Served(name, folder=folder) for name, _ in needs})
    store = Store(folder / "store")
    states = Runner(plan, store, {"asked": Kind("asked", 1, nothing, asked)}, LocalExecutor(), FakeServers(), Quiet()).run()
    assert set(states.values()) == {"done"}
    records = [store.record(planned.step) for planned in steps]
    assert all(record.provenance.seconds == pytest.approx(0.5 - WAITED_S, abs=0.4) for record in records)
    return [record.found(Asked) for record in records]


def overlap(one: Asked, other: Asked) -> bool:
    return one.began < other.ended and other.began < one.ended


def test_the_next_piece_of_work_begins_while_one_asks(tmp_path: Path) -> None:
    first, second, third = spans(tmp_path, ("a", 2), ("a", 2), ("a", 2))
    assert overlap(first, second)
    assert not overlap(first, third), "two at a time"


@pytest.mark.parametrize("other", [("a", None), ("a", 1), ("b", 2)])
def test_work_of_other_needs_waits(tmp_path: Path, other: tuple[str, int | None]) -> None:
    """Its time is a result, or it is to be asked with other requests in flight, or of another server."""
    first, second = spans(tmp_path, ("a", 2), other)
    assert not overlap(first, second)


def test_work_that_is_timed_has_its_server_to_itself(tmp_path: Path) -> None:
    first, second = spans(tmp_path, ("a", None), ("a", None))
    assert not overlap(first, second)
