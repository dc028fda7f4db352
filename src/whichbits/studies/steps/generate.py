"""Step `generate`: generate greedy answers to prompts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from whichbits.core.errors import UserError
from whichbits.schema.generate import GenerateInputs, GenerateSummary
from whichbits.schema.inputs import EngineLocal
from whichbits.schema.labels import Labels
from whichbits.schema.step import Step
from whichbits.studies.steps.forecast import Ask, batch_seconds
from whichbits.studies.steps.planned import Planned
from whichbits.studies.steps.shared.generated import PRELOAD, generated
from whichbits.studies.steps.shared.items import write_items
from whichbits.studies.steps.shared.on_engine import on_engine, repeated, server, trusted
from whichbits.studies.steps.shared.similarity_measures import wanted_measures
from whichbits.studies.steps.step import Job, Kind, Result, StepContext

if TYPE_CHECKING:
    from whichbits.similarity.prompts import Prompt
    from whichbits.studies.steps.study import Study


def plan(study: Study, before: Sequence[Planned]) -> Iterator[Planned]:
    """A step for each candidate that is served, where similarity is asked for; a second one for the base, its own noise."""
    from whichbits.similarity.measures.registry import text_measures
    from whichbits.similarity.prompts import builtin_prompts, read_prompts

    wanted = study.specification.similarity
    if wanted is None or not wanted_measures(study, text_measures):
        return

    if wanted.max_tokens >= study.max_length:
        problem = f"{wanted.max_tokens} leaves no room for a prompt in the {study.max_length} tokens of a request"
        raise study.source.error(("similarity", "max_tokens"), problem, "choose a smaller one, or a larger max_length")
    try:
        prompts = read_prompts(_file(study, wanted.prompts)) if wanted.prompts else builtin_prompts()
    except UserError as error:
        raise study.source.placed(("similarity", "prompts"), error) from error
    # Prompts from all over the list, whatever their number.
    stride = max(1, len(prompts) // wanted.limit) if wanted.limit else 1
    chosen = tuple(prompts[::stride][: wanted.limit])
    name, label = _name(wanted.prompts) if wanted.prompts else "built-in", study.specification.engine.kind
    for subject in study.subjects:
        if not subject.served:
            continue
        local = EngineLocal(checkpoint=subject.ready, tokenizer=study.model.path, trust_remote_code=trusted(study))
        for repeat in range(2 if subject.name == study.base and study.specification.base_repeats > 1 else 1):
            inputs: GenerateInputs[Prompt] = GenerateInputs(
                checkpoint=subject.checkpoint,
                copies=subject.copies,
                engine=repeated(study.serving, repeat),
                hardware=study.hardware.key(),
                server=server(study, subject, label),
                prompts=chosen,
                max_tokens=wanted.max_tokens,
                repeat=repeat or None,
            )
            yield on_engine(study, GENERATE, subject, label, inputs, Labels(prompts=name, repeat=repeat), local)


ARENA_HARD = ("arena-hard-v0.1", "arena-hard-v2.0")
"""Sets of prompts by name, in the data directory."""


def _file(study: Study, prompts: Path) -> Path:
    """The file of prompts that a specification names. Raises UserError for Arena-Hard's without a data directory."""
    if str(prompts) not in ARENA_HARD:
        return prompts
    if study.data_dir is None:
        raise UserError(
            f"{prompts} is read from the data directory", remedy="give --data-dir, or the path of a file of prompts"
        )
    return study.data_dir / prompts / "question.jsonl"


def _name(prompts: Path) -> str:
    """What a set of prompts is called."""
    return str(prompts) if str(prompts) in ARENA_HARD else prompts.stem


def seconds(step: Step, ask: Ask) -> float | None:
    """Seconds of all prompts, each with an answer of the most tokens."""
    inputs: GenerateInputs[Prompt] = step.inputs_as(GenerateInputs)
    lengths = [sum(len(message.content) for message in prompt.messages) for prompt in inputs.prompts]
    return batch_seconds(lengths, inputs.max_tokens, inputs.engine, ask)


def run(jobs: Sequence[Job], context: StepContext) -> Iterator[tuple[Job, Result]]:
    """Generate greedy answers to prompts."""
    for job in jobs:
        inputs: GenerateInputs[Prompt] = job.step.inputs_as(GenerateInputs)
        found = generated(job, context, inputs.prompts)
        write_items(job.directory, found.texts)
        tokens = sum(text.tokens for text in found.texts)
        summary = GenerateSummary(n=len(found.texts), tokens=tokens, weights=found.weights)
        yield job, Result(summary, found.provenance, found.waited_s)


GENERATE = Kind(
    "generate",
    version=3,
    plan=plan,
    run=run,
    seconds=seconds,
    preload=PRELOAD,
)
