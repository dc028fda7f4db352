"""Step `generate`: generate greedy answers to prompts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict

from whichbits.studies.steps.items import write_items
from whichbits.studies.steps.job import custom_code
from whichbits.studies.steps.provenance import provenance, stated
from whichbits.studies.steps.served import model_of, served_by, served_weights, token_counts
from whichbits.studies.steps.step import Job, Kind, Result, StepContext


def run(jobs: Sequence[Job], context: StepContext) -> Iterator[tuple[Job, Result]]:
    """Generate greedy answers to prompts."""
    from whichbits.models.tokenization import load_tokenizer
    from whichbits.similarity.generate import generate_texts
    from whichbits.similarity.prompts import Prompt

    for job in jobs:
        inputs = job.cell.inputs
        tokenizer = load_tokenizer(job.cell.places["tokenizer"], allow_custom_code=custom_code(job))
        prompts = [Prompt.model_validate(prompt) for prompt in inputs["prompts"]]
        with ExitStack() as stack:
            model = model_of(job, context, stack)
            weights = served_weights(job, model)
            texts = generate_texts(model, tokenizer, prompts, max_tokens=inputs["max_tokens"])
        write_items(job.directory, [asdict(text) for text in texts])
        summary = {"n": len(texts), "tokens": sum(text.tokens for text in texts), **stated("weights", weights)}
        counts, served = token_counts(model), stated("server", served_by(job, context))
        yield job, Result(summary, provenance(job, engine=inputs["engine"], token_counts=counts, **served))


GENERATE = Kind(
    "generate",
    version=2,
    run=run,
    preload=(
        "torch",
        "transformers.models.auto.modeling_auto",
        "transformers.models.auto.tokenization_auto",
        "transformers.models.llama.modeling_llama",
        "whichbits.engines.emulation.model",
    ),
)
