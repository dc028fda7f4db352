"""Step `compare`: compare a candidate's texts with the base's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict

from whichbits.studies.steps.items import read_items, write_items
from whichbits.studies.steps.job import threads
from whichbits.studies.steps.provenance import provenance
from whichbits.studies.steps.step import Job, Kind, Result, StepContext


def run(jobs: Sequence[Job], context: StepContext) -> Iterator[tuple[Job, Result]]:
    """Compare a candidate's texts with the base's."""
    import torch

    from whichbits.similarity.generate import GeneratedText
    from whichbits.similarity.scorers import Encoders, bertscore, embedded_encoders, sentence_similarity
    from whichbits.similarity.texts import compare_texts, summarise

    for job in jobs:
        torch.set_num_threads(threads(job))
        wanted = job.cell.inputs["encoders"]
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
    run=run,
    preload=("torch", "sentence_transformers", "bert_score"),
)
