"""A checkpoint's greedy answers to prompts: what `generate` and `generate_shard` have in common."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from whichbits.schema.generate import GeneratedText, GenerateInputs
from whichbits.schema.inputs import EngineLocal
from whichbits.studies.steps.shared.provenance import provenance
from whichbits.studies.steps.shared.served import model_of, served_by, served_weights, token_counts, waited
from whichbits.studies.steps.step import TRANSFORMERS, Job, StepContext

if TYPE_CHECKING:
    from whichbits.schema.provenance import Provenance
    from whichbits.schema.served_weights import Agreement
    from whichbits.similarity.prompts import Prompt

PRELOAD = (*TRANSFORMERS, "whichbits.engines.emulation.model")
"""As of a `Kind`."""


@dataclass(frozen=True)
class Texts:
    """Answers, and of what model."""

    texts: Sequence[GeneratedText]
    weights: Agreement | None
    """Of a server at an address."""
    provenance: Provenance
    waited_s: float
    """As in `Result`."""


def generated(job: Job, context: StepContext, prompts: Sequence[Prompt]) -> Texts:
    """The answers of the job's checkpoint to these of its prompts, in their order."""
    from whichbits.models.tokenization import load_tokenizer
    from whichbits.similarity.generate import generate_texts

    inputs, local = job.step.inputs_as(GenerateInputs), job.step.local_as(EngineLocal)
    tokenizer = load_tokenizer(local.tokenizer, trust_remote_code=local.trust_remote_code)
    with ExitStack() as stack:
        model = model_of(job, context, stack)
        weights = served_weights(job, model)
        texts = generate_texts(model, tokenizer, prompts, max_tokens=inputs.max_tokens)
    ran = provenance(job, engine=inputs.engine, token_counts=token_counts(model), server=served_by(job, context))
    return Texts(texts, weights, ran, waited(model))
