"""Step `probe`: ask the engine which kernel it has for a format."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whichbits.schema.engine import StartedEngine, program
from whichbits.schema.labels import Labels
from whichbits.schema.probe import ProbeInputs, ProbeLocal
from whichbits.schema.step import Step
from whichbits.studies.steps.forecast import SERVER_START_S, Ask
from whichbits.studies.steps.planned import Planned
from whichbits.studies.steps.shared.on_engine import trusted
from whichbits.studies.steps.shared.provenance import provenance
from whichbits.studies.steps.step import TRANSFORMERS, Job, Kind, Result, StepContext

if TYPE_CHECKING:
    from whichbits.formats.format import Format
    from whichbits.studies.steps.study import Study


def plan(study: Study, before: Sequence[Planned]) -> Iterator[Planned]:
    """A step for each candidate's format, where the engine is started here."""
    if study.command is None or not isinstance(study.serving, StartedEngine):
        return
    for subject in study.subjects:
        format = subject.format
        inputs: ProbeInputs[Format] = ProbeInputs(
            format=format,
            group_size=format.weights.group_size if format.weights and format.group_sizes else None,
            dtype=study.model.dtype,
            engine=program(study.serving),
            hardware=study.hardware.key(),
        )
        step = Step(
            "probe",
            PROBE.version,
            inputs,
            labels=Labels(candidate=subject.name, format=format.name, engine="vllm"),
            local=ProbeLocal(command=study.command.argv, tokenizer=study.model.path, trust_remote_code=trusted(study)),
        )
        yield Planned(step)


def seconds(step: Step, ask: Ask) -> float:
    """A start of the engine."""
    return SERVER_START_S


def run(jobs: Sequence[Job], context: StepContext) -> Iterator[tuple[Job, Result]]:
    """Ask the engine which kernel it has for a format, on a tiny checkpoint of it."""
    from whichbits.engines.vllm.command import EngineCommand
    from whichbits.engines.vllm.probe import probe as probe_format
    from whichbits.hardware.this_machine import describe

    for job in jobs:
        inputs: ProbeInputs[Format] = job.step.inputs_as(ProbeInputs)
        engine, command = inputs.engine, job.step.local_as(ProbeLocal).command
        checkpoint = _tiny_checkpoint(job)
        found = probe_format(
            EngineCommand(command, engine.version, " ".join(command)),
            inputs.format.name,
            checkpoint,
            arguments=engine.arguments,
            environment=engine.environment,
            hardware=describe(),
            log=job.directory / "engine.txt",
            cpus=job.cpus,
        )
        yield job, Result(found, provenance(job, engine=engine))


def _tiny_checkpoint(job: Job) -> Path:
    """A random two-layer Llama of the format, wide enough for its groups."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    from whichbits.quantization.passes.direct import quantize_checkpoint
    from whichbits.quantization.recipe.recipe import Calibration, Recipe

    inputs: ProbeInputs[Format] = job.step.inputs_as(ProbeInputs)
    local, base = job.step.local_as(ProbeLocal), job.directory / "base"
    tokenizer = AutoTokenizer.from_pretrained(local.tokenizer, trust_remote_code=local.trust_remote_code)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
    )
    dtype = getattr(torch, inputs.dtype)
    model: Any = LlamaForCausalLM(config)  # type: ignore[no-untyped-call]
    model.to(dtype).save_pretrained(base)
    tokenizer.save_pretrained(base)
    if inputs.format.is_base:
        return base
    # Only formats with scales of activations found on data look at the calibration.
    few = Calibration(source="random", samples=1, length=16)
    recipe = Recipe(scales="minmax", group_size=inputs.group_size, calibration=few)
    quantize_checkpoint(base, inputs.format, recipe, job.directory / "checkpoint")
    return job.directory / "checkpoint"


PROBE = Kind(
    "probe",
    version=3,
    plan=plan,
    run=run,
    seconds=seconds,
    preload=(*TRANSFORMERS, "whichbits.quantization.passes.direct"),
)
