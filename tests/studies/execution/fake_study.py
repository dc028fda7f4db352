"""Kinds of steps and servers that only tests know, and a runner of them in real processes."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from whichbits.engines.errors import ServerUnreachable
from whichbits.schema.inputs import Inputs
from whichbits.schema.labels import Labels
from whichbits.schema.provenance import Provenance
from whichbits.schema.step import Step
from whichbits.schema.summary import Summary
from whichbits.studies.execution.local import LocalExecutor
from whichbits.studies.execution.runner import Runner
from whichbits.studies.planning.plan import Plan, Served
from whichbits.studies.specification.schema import Specification
from whichbits.studies.steps.planned import Needs, Planned, client
from whichbits.studies.steps.step import Job, Kind, Result, ServerFailed, StepContext
from whichbits.studies.steps.study import Study
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


class Counted(Summary, kind="count"):
    new: int


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
        yield job, Result(Seen(found=os.environ.get(job.step.inputs.model_dump()["name"])))


def count(jobs: Sequence[Job], context: StepContext) -> Iterator[tuple[Job, Result]]:
    """How many items it had to compute."""
    for job in jobs:
        yield job, Result(Counted(new=int(job.step.items or 0) - (job.earlier.items if job.earlier else 0)))


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
    starting: int = 1
    broken: str | None = None
    mortal: str | None = None
    """Whose servers die as soon as they are up."""
    start_s: float = 0.0
    events: list[str] = field(default_factory=list)

    @contextmanager
    def serve(self, name: str, served: Served, store: Store, stopping: threading.Event) -> Iterator[FakeServer]:
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

    def added(self, steps: Sequence[Planned]) -> None: ...
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


def asking(name: str, value: int, needs: Needs | None = None) -> Planned:
    step = Step("ask", 1, Given(name=name, value=value), labels=Labels(candidate=f"{name}{value}"))
    return Planned(step, needs or client(name))
