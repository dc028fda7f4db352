"""Step `distribution`: compare a candidate's next-token distributions with the base's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from whichbits.core.errors import UserError
from whichbits.schema.distribution import DistributionInputs, DistributionLocal
from whichbits.schema.engine import Emulation
from whichbits.schema.labels import Labels
from whichbits.studies.steps.planned import Planned
from whichbits.studies.steps.shared.digest import digest
from whichbits.studies.steps.shared.items import write_items
from whichbits.studies.steps.shared.job import BATCH_TOKENS, checkpoint_of
from whichbits.studies.steps.shared.on_engine import on_engine, trusted
from whichbits.studies.steps.shared.provenance import provenance
from whichbits.studies.steps.shared.similarity_measures import described, wanted_measures
from whichbits.studies.steps.step import TRANSFORMERS, Job, Kind, Result, StepContext

if TYPE_CHECKING:
    from whichbits.studies.steps.study import Study


def plan(study: Study, before: Sequence[Planned]) -> Iterator[Planned]:
    """A step for each candidate, where similarity is asked for."""
    from whichbits.similarity.measures.registry import distribution_measures, identity
    from whichbits.similarity.windows import builtin_documents, read_document

    wanted, measures = study.specification.similarity, wanted_measures(study, distribution_measures)
    if wanted is None or not measures:
        return
    if wanted.window_tokens > study.model.max_positions:
        problem = f"{wanted.window_tokens} is longer than the model's context, {study.model.max_positions} tokens"
        raise study.source.error(("similarity", "window_tokens"), problem, "choose a shorter window")
    try:
        documents = [read_document(wanted.text)] if wanted.text else list(builtin_documents())
    except UserError as error:
        raise study.source.placed(("similarity", "text"), error) from error
    base, *candidates = study.subjects
    chosen = identity(measures, distribution_measures())
    labels = Labels(text=wanted.text.stem if wanted.text else "built-in")
    assert base.folder is not None, "the base is a folder"
    for subject in candidates:
        inputs = DistributionInputs(
            checkpoint=subject.checkpoint,
            copies=subject.copies,
            engine=study.emulation,
            hardware=study.hardware.key(),
            documents=digest(documents),
            windows=wanted.windows,
            window_tokens=wanted.window_tokens,
            base=base.files,
            measures=chosen.measures,
            packages=chosen.packages,
        )
        local = DistributionLocal(
            checkpoint=subject.ready,
            tokenizer=study.model.path,
            trust_remote_code=trusted(study),
            base=base.folder,
            documents=tuple(documents),
        )
        yield on_engine(study, DISTRIBUTION, subject, "emulated", inputs, labels, local)


def run(jobs: Sequence[Job], context: StepContext) -> Iterator[tuple[Job, Result]]:
    """Compare a candidate's next-token distributions with the base's, both in transformers."""
    from whichbits.engines.emulation.model import Emulated
    from whichbits.models.tokenization import load_tokenizer
    from whichbits.similarity.distributions import compare_distributions, summarise
    from whichbits.similarity.measures.registry import distribution_measures
    from whichbits.similarity.windows import token_windows

    for job in jobs:
        inputs, local = job.step.inputs_as(DistributionInputs), job.step.local_as(DistributionLocal)
        assert isinstance(inputs.engine, Emulation), "logits are of the emulation"
        tokenizer = load_tokenizer(local.tokenizer, trust_remote_code=local.trust_remote_code)
        windows = token_windows(tokenizer, local.documents, inputs.window_tokens)
        # Windows from all over the text, whatever their number.
        chosen = windows[:: max(1, len(windows) // inputs.windows)][: inputs.windows]
        base, candidate = (
            Emulated(
                checkpoint,
                threads=inputs.engine.threads,
                batch_tokens=BATCH_TOKENS,
                trust_remote_code=local.trust_remote_code,
            )
            for checkpoint in (local.base, checkpoint_of(job))
        )
        measures, rows = distribution_measures(inputs.measures), []
        for row in compare_distributions(chosen, base.logits, candidate.logits, measures):
            rows.append(row)
            context.progress(f"{len(rows)} of {len(chosen)} windows")
        write_items(job.directory, [row.row() for row in rows])
        yield job, Result(summarise(rows), provenance(job, engine=inputs.engine))


def former(summary: Any) -> Any:
    """A summary from before measures were described in it, with the measures that there were."""
    from whichbits.similarity.measures.registry import distribution_measures

    return described(summary, distribution_measures())


DISTRIBUTION = Kind(
    "distribution",
    version=2,
    plan=plan,
    run=run,
    former=former,
    preload=(*TRANSFORMERS, "whichbits.engines.emulation.model"),
)
