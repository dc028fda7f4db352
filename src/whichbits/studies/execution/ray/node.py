"""What happens on a node of the cluster: a Ray task runs a piece of work in a process of its own, as on one machine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import ray

from whichbits.core.environment import ARITHMETIC, not_launched
from whichbits.core.processes import safe_environment
from whichbits.schema.step import Step
from whichbits.studies.execution.executor import StepFailed, StepServices, Work
from whichbits.studies.execution.processes import (
    Ended,
    Ending,
    Lost,
    Processes,
    Progress,
    ServerAsked,
    ServerSilent,
    ServerWanted,
)
from whichbits.studies.execution.ray.cores import claimed
from whichbits.studies.execution.ray.mailbox import Started
from whichbits.studies.steps.step import Result, ServerFailed
from whichbits.studies.store.place import open_store

if TYPE_CHECKING:
    from ray import ObjectRef
    from ray.actor import ActorHandle


@dataclass(frozen=True)
class Assignment:
    """Work for a node."""

    work: Work
    store: str
    """Its address."""
    preload: tuple[str, ...]
    cores: int
    environment: Mapping[str, str]
    """Variables that the work has besides the node's own."""


@dataclass(frozen=True)
class Report:
    """What came of an assignment."""

    node: str
    ended: Mapping[str, Result | StepFailed]
    """Steps that are filed, by key."""
    lost: Lost | None = None
    """The others: their process has died."""


@dataclass(frozen=True)
class NodeServices:
    """What running steps are offered, by way of the mailbox."""

    mailbox: ActorHandle[Any]
    node: str

    def started(self, step: Step) -> None:
        """The step has begun to run."""
        self.mailbox.tell.remote(Started(step, self.node))

    def progress(self, step: Step, text: str) -> None:
        """The step says how far it is."""
        self.mailbox.tell.remote(Progress(step, text))

    def server(self, name: str) -> str:
        """Address of a candidate's server. Raises ServerFailed."""
        answered: ObjectRef[str | ServerFailed] = self.mailbox.ask.remote(ServerWanted(name))
        answer = ray.get(answered)
        if isinstance(answer, ServerFailed):
            raise answer
        return answer

    def server_failure(self, name: str) -> str | None:
        """Why a candidate's server has died."""
        answered: ObjectRef[str | None] = self.mailbox.ask.remote(ServerAsked(name))
        return ray.get(answered)

    def server_silent(self, name: str) -> None:
        """A candidate's server has not answered in time."""
        self.mailbox.tell.remote(ServerSilent(name))


class Silent:
    """What a process is offered beside the first, which alone tells and asks the study."""

    def started(self, step: Step) -> None:
        """The first says it."""

    def progress(self, step: Step, text: str) -> None:
        """The first says it."""

    def server(self, name: str) -> str:
        """There is none. Raises ServerFailed."""
        raise ServerFailed(f"{name} is not asked by several processes")

    def server_failure(self, name: str) -> str | None:
        """None is asked."""
        return None

    def server_silent(self, name: str) -> None:
        """None is asked."""


def run(assignment: Assignment, mailbox: ActorHandle[Any]) -> Report:
    """Run an assignment, in a Ray task. Raises OSError or UserError of the store."""
    work = assignment.work
    services = NodeServices(mailbox, ray.get_runtime_context().get_node_id())
    found: dict[str, Result | StepFailed] = {}

    def ended(key: str, outcome: Result | StepFailed) -> None:
        found[key] = outcome
        if len(found) < len(work.steps):  # the last one comes with the report
            mailbox.tell.remote(Ended(key, outcome))

    return Report(services.node, found, _run(assignment, services, ended))


def run_beside(assignment: Assignment) -> str | None:
    """Run a process beside the one that files what comes of the work; what was wrong with it, None where it has ended well."""
    beside = replace(assignment, work=replace(assignment.work, beside=True))
    lost = _run(beside, Silent(), lambda key, outcome: None)
    return None if lost is None else lost.cause


def _run(assignment: Assignment, services: StepServices, ended: Ending) -> Lost | None:
    processes = _processes(assignment.store, assignment.preload)
    environment = {**not_launched(os.environ), **assignment.environment}
    safe = safe_environment({name: value for name, value in environment.items() if name not in ARITHMETIC})
    with claimed(assignment.cores) as cores:
        return processes.run(assignment.work, cores, safe, services, ended)


@cache
def _processes(store: str, preload: tuple[str, ...]) -> Processes:
    """What this worker of Ray forks its work from; it has the imports of the work before behind it."""
    return Processes(open_store(store), preload)
