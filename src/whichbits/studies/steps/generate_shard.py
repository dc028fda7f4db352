"""Step `generate_shard`: generate greedy answers to a part of the prompts; and the merge of all parts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from whichbits.schema.engine import EngineAtAddress
from whichbits.schema.generate import GeneratedText, GenerateInputs, GenerateSummary
from whichbits.schema.generate_shard import GenerateShardInputs, GenerateShardSummary
from whichbits.schema.step import Step
from whichbits.studies.steps.shared.generated import PRELOAD, generated
from whichbits.studies.steps.shared.items import read_items, write_items
from whichbits.studies.steps.shared.shards import merged_result, shards_of, unplanned
from whichbits.studies.steps.step import Job, Kind, Result, Shards, StepContext

if TYPE_CHECKING:
    from whichbits.similarity.prompts import Prompt


def split(step: Step, count: int) -> tuple[Step, ...]:
    """The shards of a generation; none at a server of the user's, and of the base's second texts."""
    inputs: GenerateInputs[Prompt] = step.inputs_as(GenerateInputs)
    if isinstance(inputs.engine, EngineAtAddress) or inputs.repeat:
        return ()
    return shards_of(step, GENERATE_SHARD, min(count, len(inputs.prompts)), GenerateShardInputs)


def run(jobs: Sequence[Job], context: StepContext) -> Iterator[tuple[Job, Result]]:
    """Generate greedy answers to a part of the prompts."""
    for job in jobs:
        inputs: GenerateShardInputs[Prompt] = job.step.inputs_as(GenerateShardInputs)
        own = inputs.part.shard.own([False] * len(inputs.prompts))
        found = generated(job, context, inputs.prompts[own.start : own.stop])
        write_items(job.directory, found.texts)
        summary = GenerateShardSummary(n=len(found.texts), tokens=sum(text.tokens for text in found.texts))
        yield job, Result(summary, found.provenance, found.waited_s)


def merge(jobs: Sequence[Job], context: StepContext) -> Iterator[tuple[Job, Result]]:
    """Put the texts of all shards together."""
    for job in jobs:
        texts = [text for record in job.shards for text in read_items(record.directory, GeneratedText)]
        write_items(job.directory, texts)
        tokens = sum(record.found(GenerateShardSummary).tokens for record in job.shards)
        yield job, merged_result(job, GenerateSummary(n=len(texts), tokens=tokens))


GENERATE_SHARD = Kind(
    "generate_shard",
    version=1,
    plan=unplanned,
    run=run,
    preload=PRELOAD,
    shards=Shards("generate", split, merge),
)
