"""Step `generate`: generate greedy answers to prompts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from typing import TYPE_CHECKING

from whichbits.core.errors import UserError
from whichbits.schema.generate import GenerateSummary
from whichbits.schema.labels import Labels
from whichbits.schema.step import Step
from whichbits.studies.steps.compared import compared
from whichbits.studies.steps.forecast import Ask, batch_seconds
from whichbits.studies.steps.items import write_items
from whichbits.studies.steps.job import trust_remote_code
from whichbits.studies.steps.on_engine import on_engine
from whichbits.studies.steps.planned import Planned
from whichbits.studies.steps.provenance import provenance, stated
from whichbits.studies.steps.served import model_of, served_by, served_weights, token_counts
from whichbits.studies.steps.step import TRANSFORMERS, Job, Kind, Result, StepContext

if TYPE_CHECKING:
    from whichbits.studies.steps.study import Study


def plan(study: Study, before: Sequence[Planned]) -> Iterator[Planned]:
    """A step for each candidate that is served, where similarity is asked for."""
    wanted = study.specification.similarity
    if wanted is None or not compared(study):
        return
    from whichbits.similarity.prompts import builtin_prompts, read_prompts

    if wanted.max_tokens >= study.max_length:
        problem = f"{wanted.max_tokens} leaves no room for a prompt in the {study.max_length} tokens of a request"
        raise study.source.error(("similarity", "max_tokens"), problem, "choose a smaller one, or a larger max_length")
    try:
        prompts = read_prompts(wanted.prompts) if wanted.prompts else builtin_prompts()
    except UserError as error:
        raise study.source.placed(("similarity", "prompts"), error) from error
    # Prompts from all over the list, whatever their number.
    stride = max(1, len(prompts) // wanted.limit) if wanted.limit else 1
    chosen = [prompt.model_dump(mode="json") for prompt in prompts[::stride][: wanted.limit]]
    inputs = {"prompts": chosen, "max_tokens": wanted.max_tokens, "engine": study.serving}
    labels = Labels(prompts=wanted.prompts.stem if wanted.prompts else "built-in")
    for subject in study.subjects:
        if subject.served:
            yield on_engine(study, GENERATE, subject, study.specification.engine.kind, inputs, labels)


def seconds(step: Step, ask: Ask) -> float | None:
    """Seconds of all prompts, each with an answer of the most tokens."""
    lengths = [sum(len(message["content"]) for message in prompt["messages"]) for prompt in step.inputs["prompts"]]
    return batch_seconds(lengths, step.inputs["max_tokens"], step.inputs["engine"], ask)


def run(jobs: Sequence[Job], context: StepContext) -> Iterator[tuple[Job, Result]]:
    """Generate greedy answers to prompts."""
    from whichbits.models.tokenization import load_tokenizer
    from whichbits.similarity.generate import generate_texts
    from whichbits.similarity.prompts import Prompt

    for job in jobs:
        inputs = job.step.inputs
        tokenizer = load_tokenizer(job.step.local["tokenizer"], trust_remote_code=trust_remote_code(job))
        prompts = [Prompt.model_validate(prompt) for prompt in inputs["prompts"]]
        with ExitStack() as stack:
            model = model_of(job, context, stack)
            weights = served_weights(job, model)
            texts = generate_texts(model, tokenizer, prompts, max_tokens=inputs["max_tokens"])
        write_items(job.directory, [asdict(text) for text in texts])
        summary = GenerateSummary(n=len(texts), tokens=sum(text.tokens for text in texts), weights=weights)
        counts, served = token_counts(model), stated("server", served_by(job, context))
        yield job, Result(summary, provenance(job, engine=inputs["engine"], token_counts=counts, **served))


GENERATE = Kind(
    "generate",
    version=2,
    plan=plan,
    run=run,
    seconds=seconds,
    preload=(*TRANSFORMERS, "whichbits.engines.emulation.model"),
)
