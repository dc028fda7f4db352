"""Planning of steps that run a checkpoint in an engine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from whichbits.schema.engine import Emulation, EngineIdentity, ServingEngine
from whichbits.schema.inputs import EngineInputs, EngineLocal
from whichbits.schema.labels import Labels
from whichbits.schema.step import Items, Step
from whichbits.studies.steps.planned import COMPUTE, Planned, client, keys

if TYPE_CHECKING:
    from whichbits.studies.steps.step import Kind
    from whichbits.studies.steps.study import Study
    from whichbits.studies.steps.subject import Subject


def trusted(study: Study) -> bool:
    """Whether code that comes with the model may run."""
    return study.specification.trust_remote_code


def engines(study: Study, subject: Subject) -> Iterator[tuple[str, ServingEngine | Emulation]]:
    """Engines a subject runs in, each with its label."""
    if subject.served:
        yield study.specification.engine.kind, study.serving
    if subject.emulated:
        yield "emulated", study.emulation


def repeated(engine: ServingEngine, repeat: int) -> ServingEngine:
    """The engine of the base's further runs, which keep fewer requests in flight: other batches are part of the noise."""
    return engine.model_copy(update={"concurrency": max(1, engine.concurrency // 2**repeat)})


def server(study: Study, subject: Subject, label: str) -> EngineIdentity | None:
    """Who answers for a subject; None where it is emulated, or its server is started here."""
    return None if label == "emulated" else study.server_of(subject.name)


def on_engine(
    study: Study,
    kind: Kind,
    subject: Subject,
    label: str,
    inputs: EngineInputs,
    labels: Labels,
    local: EngineLocal,
    items: Items | None = None,
    *,
    timed: bool = False,
) -> Planned:
    """A step that runs a checkpoint in an engine; `items` as in `Step`. One whose time is a result has its server to itself."""
    step = Step(
        kind.name,
        kind.version,
        inputs,
        keys(subject.reads()),
        labels.model_copy(update={"candidate": subject.name, "engine": label}),
        local,
        items,
    )
    if isinstance(inputs.engine, Emulation):
        return Planned(step, COMPUTE, subject.reads())
    return Planned(step, client(subject.name, requests=None if timed else inputs.engine.concurrency), subject.reads())
