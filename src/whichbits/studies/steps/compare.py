"""Step `compare`: compare a candidate's texts with the base's."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from whichbits.schema.step import Step
from whichbits.studies.steps.items import read_items, write_items
from whichbits.studies.steps.job import threads
from whichbits.studies.steps.planned import Planned, keys
from whichbits.studies.steps.provenance import provenance
from whichbits.studies.steps.step import Job, Kind, Result, StepContext

if TYPE_CHECKING:
    from whichbits.studies.steps.study import Study


def plan(study: Study, before: Sequence[Planned]) -> Iterator[Planned]:
    """A step for each candidate that generates texts; the base generates them too."""
    wanted = study.specification.similarity
    if wanted is None:
        return
    encoders = {
        "bertscore": _encoder(study, "bertscore_encoder", wanted.bertscore_encoder),
        "sts": _encoder(study, "encoder", wanted.encoder),
    }
    generated = {planned.step.labels.candidate: planned.step for planned in before if planned.step.kind == "generate"}
    for name, step in generated.items():
        if name != study.base:
            reads = {"base": generated[study.base], "candidate": step}
            compared = Step("compare", COMPARE.version, {"encoders": encoders}, keys(reads), step.labels)
            yield Planned(compared, reads=reads)


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

    from whichbits.similarity.generate import GeneratedText
    from whichbits.similarity.scorers import Encoders, bertscore, embedded_encoders, sentence_similarity
    from whichbits.similarity.texts import compare_texts, summarise

    for job in jobs:
        torch.set_num_threads(threads(job))
        wanted = job.step.inputs["encoders"]
        embedded = embedded_encoders() if None in (wanted["bertscore"], wanted["sts"]) else None
        encoders = Encoders(
            bertscore=wanted["bertscore"] or (embedded.bertscore if embedded else ""),
            sts=wanted["sts"] or (embedded.sts if embedded else ""),
            bertscore_layers=None if wanted["bertscore"] else (embedded.bertscore_layers if embedded else None),
        )
        base, candidate = ([GeneratedText(**row) for row in read_items(job.reads[role])] for role in ("base", "candidate"))
        rows = compare_texts(base, candidate, bertscore=bertscore(encoders), sts=sentence_similarity(encoders))
        write_items(job.directory, [asdict(row) for row in rows])
        yield job, Result(summarise(rows), provenance(job, encoders=wanted))


COMPARE = Kind(
    "compare",
    version=2,
    plan=plan,
    run=run,
    preload=("torch", "sentence_transformers", "bert_score"),
)
