"""What happens where work runs, in whichever process or on whichever machine: run the steps, and file what comes of each."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn, Protocol

from whichbits.core.errors import UserError
from whichbits.engines.errors import ServerUnreachable
from whichbits.studies.execution.executor import StepFailed, Work
from whichbits.studies.steps.planned import Planned
from whichbits.studies.steps.step import Job, ProcessLost, Result, ServerFailed, StepContext
from whichbits.studies.store.store import Store

Outcome = tuple[Planned, Result | StepFailed]


class WorkerContext(StepContext, Protocol):
    """What running steps may ask of the study, and what is told of them."""

    job: Job
    """The one that progress is of."""

    def server_failure(self, name: str) -> str | None:
        """Why a candidate's server has died; None while it lives."""
        ...

    def server_silent(self, name: str) -> None:
        """A candidate's server has not answered in time: it is started anew before it is asked again."""
        ...


def jobs_of(work: Work, store: Store, cpus: frozenset[int] | None, turns: Path | None = None) -> list[Job]:
    """The steps as their kind's function sees them, each with an empty folder."""
    return [
        Job(
            step=planned.step,
            directory=store.partial(planned.step),
            reads={role: store.fetched(step) for role, step in planned.reads.items()},
            servers=planned.needs.servers,
            cpus=cpus,
            kept=store.kept(planned.step),
            shared=store.shared,
            turns=turns,
            earlier=store.earlier(planned.part_of.step if planned.part_of is not None else planned.step),
            shards=tuple(store.record(step) for step in planned.reads.values()) if planned.merges else (),
        )
        for planned in work.steps
    ]


def run_work(work: Work, jobs: Sequence[Job], store: Store, context: WorkerContext) -> Iterator[Outcome]:
    """Run steps together and file each in the store as it ends.

    An error of the store itself is raised, and ProcessLost, of which nothing is filed.
    """
    planned = {one.step.key: one for one in work.steps}
    left = {job.step.key: job for job in jobs}
    outcomes = iter(work.run(jobs, context))
    while left:
        started = time.monotonic()
        try:
            job, outcome = next(outcomes, None) or _nothing()
        except ProcessLost:
            traceback.print_exc()
            raise
        except Exception as error:  # noqa: BLE001 - the boundary of a step: whatever it was becomes its cause of failure
            traceback.print_exc()
            for job in left.values():
                yield planned[job.step.key], _failed(job, error, time.monotonic() - started, store, context)
            return
        seconds = time.monotonic() - started
        left.pop(job.step.key)
        context.job = next(iter(left.values()), job)
        if isinstance(outcome, Exception):
            traceback.print_exception(outcome)
            yield planned[job.step.key], _failed(job, outcome, seconds, store, context)
        else:
            own = seconds - outcome.waited_s + outcome.shards_s
            yield planned[job.step.key], _filed(job, outcome, own, store, context)


def _nothing() -> NoReturn:
    raise RuntimeError("the kind's function ended without a result")


def _filed(job: Job, result: Result, seconds: float, store: Store, context: WorkerContext) -> Result | StepFailed:
    """The result in the store, with how long it took; what a server that has died since has answered is not trusted."""
    if cause := server_failure(job.servers, context.server_failure):
        return _fail(job, cause, seconds, store)
    finished = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    whole = Result(result.summary, result.provenance.model_copy(update={"seconds": round(seconds, 3), "finished_at": finished}))
    try:
        store.finish(job.step, job.directory, whole.summary, whole.provenance)
    except ValueError as error:  # a number that is none
        return _fail(job, cause_of(error), seconds, store)
    return whole


def _failed(job: Job, error: Exception, seconds: float, store: Store, context: WorkerContext) -> StepFailed:
    cause = server_failure(job.servers, context.server_failure) or cause_of(error)
    if isinstance(error, ServerUnreachable):
        for name in job.servers:
            context.server_silent(name)
    return _fail(job, cause, seconds, store)


def _fail(job: Job, cause: str, seconds: float, store: Store) -> StepFailed:
    store.fail(job.step, job.directory, cause)
    return StepFailed(cause, seconds)


def server_failure(servers: Sequence[str], failure: Callable[[str], str | None]) -> str | None:
    """Why one of these servers has died, in one line; None where all live."""
    return next((f"the server of {name} died: {cause}" for name in servers if (cause := failure(name))), None)


def cause_of(error: BaseException) -> str:
    """An exception in one line."""
    text = str(error) if isinstance(error, UserError | ServerFailed) else f"{type(error).__name__}: {error}"
    return " ".join(text.split()) or type(error).__name__
