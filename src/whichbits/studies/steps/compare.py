"""Step `compare`: compare a candidate's texts with the base's."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from whichbits.schema.compare import CompareInputs, EncoderNames
from whichbits.schema.generate import GeneratedText
from whichbits.schema.step import Step
from whichbits.studies.steps.planned import Planned, keys
from whichbits.studies.steps.shared.items import read_items, write_items
from whichbits.studies.steps.shared.job import threads
from whichbits.studies.steps.shared.provenance import provenance
from whichbits.studies.steps.shared.similarity_measures import described, wanted_measures
from whichbits.studies.steps.step import Job, Kind, Result, StepContext

if TYPE_CHECKING:
    from whichbits.studies.steps.study import Study


def plan(study: Study, before: Sequence[Planned]) -> Iterator[Planned]:
    """A step for each candidate that generates texts, and for the base's second texts; each against the base's first."""
    from whichbits.similarity.measures.registry import identity, text_measures

    wanted, measures = study.specification.similarity, wanted_measures(study, text_measures)
    if wanted is None or not measures:
        return
    encoders = EncoderNames(
        bertscore=_encoder(study, "bertscore_encoder", wanted.bertscore_encoder),
        sts=_encoder(study, "encoder", wanted.encoder),
    )
    chosen = identity(measures, text_measures())
    inputs = CompareInputs(encoders=encoders, measures=chosen.measures, packages=chosen.packages)
    generated = [planned.step for planned in before if planned.step.kind == "generate"]
    first = next((step for step in generated if step.labels.candidate == study.base and not step.labels.repeat), None)
    for step in generated:
        if first is not None and step is not first:
            reads = {"base": first, "candidate": step}
            yield Planned(Step("compare", COMPARE.version, inputs, keys(reads), step.labels), reads=reads)


def _encoder(study: Study, field: str, name: str) -> str | None:
    """A folder or a hub id; None for the embedded encoder."""
    if name == "all-minilm-l6-v2":
        return None
    if name.startswith((".", "/", "~")) and not os.path.isdir(name):  # noqa: PTH112 - Path.is_dir raises for odd names
        problem = f"there is no folder {name!r:.200}"
        raise study.source.error(("similarity", field), problem, "give a folder, a hub id, or all-minilm-l6-v2")
    return name


def run(jobs: Sequence[Job], context: StepContext) -> Iterator[tuple[Job, Result]]:
    """Compare a candidate's texts with the base's."""
    import torch

    from whichbits.similarity.encoders import Encoders, embedded_encoders
    from whichbits.similarity.measures.registry import text_measures
    from whichbits.similarity.texts import compare_texts

    for job in jobs:
        torch.set_num_threads(threads(job))
        inputs = job.step.inputs_as(CompareInputs)
        wanted = inputs.encoders
        embedded = embedded_encoders() if None in (wanted.bertscore, wanted.sts) else None
        encoders = Encoders(
            bertscore=wanted.bertscore or (embedded.bertscore if embedded else ""),
            sts=wanted.sts or (embedded.sts if embedded else ""),
            bertscore_layers=None if wanted.bertscore else (embedded.bertscore_layers if embedded else None),
        )
        base, candidate = (read_items(job.reads[role], GeneratedText) for role in ("base", "candidate"))
        found = compare_texts(base, candidate, text_measures(inputs.measures), encoders)
        write_items(job.directory, list(found.rows()))
        yield job, Result(found.summary(), provenance(job, encoders=wanted))


BEFORE_DESCRIBED = ("rouge1", "rougeL", "bertscore", "sts", "first_difference", "identical", "length_ratio")
"""The measures that there were."""


def former(summary: Any) -> Any:
    """A summary from before measures were described in it, with the measures that there were."""
    from whichbits.similarity.measures.registry import text_measures

    return described(summary, text_measures(BEFORE_DESCRIBED))


COMPARE = Kind(
    "compare",
    version=3,
    plan=plan,
    run=run,
    former=former,
    preload=("torch", "sentence_transformers", "bert_score"),
)
