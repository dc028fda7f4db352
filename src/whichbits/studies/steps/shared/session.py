"""A measurement session: its steps, who answers for each candidate, with which weights, and in which order."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from whichbits.core.errors import UserError
from whichbits.schema.labels import Labels
from whichbits.schema.session import Devices, Servers, SessionInputs, SessionLocal, WeightsBehind
from whichbits.schema.step import Step
from whichbits.studies.steps.planned import Planned, keys, measurement
from whichbits.studies.steps.shared.on_engine import trusted
from whichbits.studies.steps.shared.provenance import provenance
from whichbits.studies.steps.shared.served import agreement_of, references, server_of
from whichbits.studies.steps.step import Job, ServerFailed, StepContext

if TYPE_CHECKING:
    from whichbits.engines.served_weights import Reference
    from whichbits.schema.engine import EngineIdentity
    from whichbits.schema.provenance import Provenance
    from whichbits.schema.served_weights import Agreement
    from whichbits.schema.server_abilities import ServerAbilities
    from whichbits.studies.steps.step import Kind
    from whichbits.studies.steps.study import Study
    from whichbits.studies.steps.subject import Subject

T = TypeVar("T")
InputsT = TypeVar("InputsT", bound=SessionInputs)
LocalT = TypeVar("LocalT", bound=SessionLocal)


def session_inputs(study: Study, subject: Subject, repeat: int, inputs: type[InputsT], **own: Any) -> InputsT:
    """Inputs of a step of a session, with the fields that are the kind's `own`."""
    base, deployment = study.subjects[0], study.specification.deployment
    return inputs(
        checkpoint=subject.checkpoint,
        copies=subject.copies,
        base=base.files,
        engine=study.serving,
        servers=Servers(server=study.server_of(subject.name), base=study.server_of(base.name)),
        hardware=study.hardware.key(),
        deployment=Devices(hardware=deployment.hardware, count=deployment.count),
        repeat=repeat,
        seed=study.specification.seed + repeat,
        **own,
    )


def session_local(study: Study, subject: Subject, local: type[LocalT], **own: Any) -> LocalT:
    """Where a step of a session finds its files on this machine, with the fields that are the kind's `own`."""
    base = study.subjects[0]
    assert base.folder is not None, "the base is a folder"
    return local(
        checkpoint=subject.ready,
        tokenizer=study.model.path,
        trust_remote_code=trusted(study),
        base=base.name,
        base_checkpoint=base.folder,
        **own,
    )


def session_step(
    study: Study, kind: Kind, subject: Subject, inputs: SessionInputs, local: SessionLocal, workload: str | None = None
) -> Planned:
    """A step that measures a candidate beside the base."""
    labels = Labels(
        candidate=subject.name, workload=workload, deployment=study.specification.deployment.name, repeat=inputs.repeat
    )
    step = Step(kind.name, kind.version, inputs, keys(subject.reads()), labels, local)
    return Planned(step, measurement(*dict.fromkeys((study.base, subject.name))), subject.reads())


def roles(job: Job) -> dict[str, str]:
    """Who is measured in a step: names of the base and the candidate, by role."""
    return {"base": job.step.local_as(SessionLocal).base, "candidate": job.step.labels.candidate}


def round_order(group: Sequence[Job]) -> list[str]:
    """Names of all that the steps of a round measure, in the order in which they are."""
    from whichbits.serving.rounds import order

    inputs = group[0].step.inputs_as(SessionInputs)
    names = {name for job in group for name in roles(job).values()}
    return order(sorted(names), seed=inputs.seed - inputs.repeat, repeat=inputs.repeat)


@dataclass
class Session:
    """Who answers in a session. What fails for one candidate leaves the others' measurements as they are."""

    context: StepContext
    planned: Mapping[str, EngineIdentity | None]
    """By the name of the candidate, at addresses of the user's."""
    expected: Mapping[str, Reference | None]
    """What their weights say on this machine."""
    name: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    _who: dict[str, EngineIdentity] = field(default_factory=dict, init=False)
    _weights: dict[str, Agreement] = field(default_factory=dict, init=False)

    @classmethod
    def of(cls, jobs: Sequence[Job], context: StepContext) -> Session:
        """The session in which all these steps are run."""
        planned: dict[str, EngineIdentity | None] = {}
        for job in jobs:
            servers, names = job.step.inputs_as(SessionInputs).servers, roles(job)
            planned[names["base"]] = servers.base
            planned[names["candidate"]] = servers.server
        return cls(context, planned, references(jobs))

    def measured(self, name: str, job: Job, measure: Callable[[EngineIdentity], T]) -> T | Exception:
        """What `measure` finds of a candidate's server, or why nothing; the server must be the one that was planned."""
        from whichbits.engines.errors import EngineError

        try:
            self._who[name] = server_of(name, self.context.server(name), job, self.planned[name])
            return measure(self._who[name])
        except EngineError as error:
            return ServerFailed(f"{name} was not measured: {error}")
        except (ServerFailed, UserError, OSError) as error:
            return error

    def says(self, name: str) -> Callable[[ServerAbilities], None]:
        """Says of a candidate's server what it cannot do, and what is measured instead."""

        def say(found: ServerAbilities) -> None:
            for what in found.instead:
                self.context.progress(f"{name}: the server {what}")

        return say

    def compare_weights(self, measured: Mapping[str, object], job: Job) -> None:
        """Ask the servers at addresses of the user's for their weights, each once, where they were measured."""
        for name, outcome in measured.items():
            if name in self.expected and name not in self._weights and not isinstance(outcome, Exception):
                self._weights[name] = agreement_of(self._who[name], job, self.expected[name])

    def weights(self, job: Job) -> WeightsBehind | None:
        """What was found of the weights behind a step's addresses; None of servers of ours."""
        if not self._weights:
            return None
        names = roles(job)
        return WeightsBehind(candidate=self._weights[names["candidate"]], base=self._weights[names["base"]])

    def provenance(self, job: Job, packages: Mapping[str, str] | None = None) -> Provenance:
        """Where and with what a step was measured; `packages` bring its metrics."""
        inputs = job.step.inputs_as(SessionInputs)
        return provenance(
            job,
            engine=inputs.engine,
            session=self.name,
            seed=inputs.seed,
            servers={role: self._who[name] for role, name in roles(job).items()},
            packages=packages,
            measured_at=time.time(),
        )
