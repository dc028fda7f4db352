"""Planning of steps that run a checkpoint in an engine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from whichbits.schema.labels import Labels
from whichbits.schema.step import Items, Json, Step
from whichbits.studies.steps.planned import COMPUTE, Planned, client, keys

if TYPE_CHECKING:
    from whichbits.studies.steps.step import Kind
    from whichbits.studies.steps.study import Study
    from whichbits.studies.steps.subject import Subject


def remote_code(study: Study) -> dict[str, Json]:
    """Whether code that comes with the model may run, as a place: not part of a key."""
    return {"trust_remote_code": study.specification.trust_remote_code}


def engines(study: Study, subject: Subject) -> Iterator[tuple[str, dict[str, Json]]]:
    """Engines a subject runs in, each with its label."""
    if subject.served:
        yield study.specification.engine.kind, study.serving
    if subject.emulated:
        yield "emulated", study.emulation


def on_engine(
    study: Study,
    kind: Kind,
    subject: Subject,
    label: str,
    inputs: Mapping[str, Json],
    labels: Labels,
    local: Mapping[str, Json] | None = None,
    items: Items | None = None,
) -> Planned:
    """A step that runs a checkpoint in an engine; `items` as in `Step`."""
    step = Step(
        kind.name,
        kind.version,
        {
            **subject.inputs,
            **inputs,
            "hardware": study.hardware.key(),
            **(study.server_of(subject.name) if label != "emulated" else {}),
        },
        keys(subject.reads()),
        labels.model_copy(update={"candidate": subject.name, "engine": label}),
        {
            **subject.local(),
            "tokenizer": str(study.model.path),
            **remote_code(study),
            **({"data_dir": str(study.data_dir)} if study.data_dir else {}),
            **(local or {}),
        },
        items,
    )
    return Planned(step, COMPUTE if label == "emulated" else client(subject.name), subject.reads())
