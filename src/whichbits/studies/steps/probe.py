"""Step `probe`: ask the engine which kernel it has for a format."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from whichbits.studies.steps.job import custom_code
from whichbits.studies.steps.provenance import provenance
from whichbits.studies.steps.step import Job, Kind, Result, StepContext


def run(jobs: Sequence[Job], context: StepContext) -> Iterator[tuple[Job, Result]]:
    """Ask the engine which kernel it has for a format, on a tiny checkpoint of it."""
    from whichbits.engines.vllm.command import EngineCommand
    from whichbits.engines.vllm.probe import probe as probe_format
    from whichbits.hardware.machine import describe

    for job in jobs:
        inputs = job.cell.inputs
        engine = inputs["engine"]
        checkpoint = _tiny_checkpoint(job)
        found = probe_format(
            EngineCommand(tuple(job.cell.places["command"]), engine["version"], " ".join(job.cell.places["command"])),
            inputs["format"]["name"],
            checkpoint,
            arguments=engine["arguments"],
            environment=engine["environment"],
            hardware=describe(),
            log=job.directory / "engine.txt",
            cpus=job.cpus,
        )
        yield job, Result(asdict(found), provenance(job, engine=engine))


def _tiny_checkpoint(job: Job) -> Path:
    """A random two-layer Llama of the format, wide enough for its groups."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    from whichbits.formats.format import Format
    from whichbits.quantization.passes.direct import quantize_checkpoint
    from whichbits.quantization.recipe.recipe import Calibration, Recipe

    inputs = job.cell.inputs
    base = job.directory / "base"
    tokenizer = AutoTokenizer.from_pretrained(job.cell.places["tokenizer"], trust_remote_code=custom_code(job))
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
    dtype = getattr(torch, inputs["dtype"])
    model: Any = LlamaForCausalLM(config)  # type: ignore[no-untyped-call]
    model.to(dtype).save_pretrained(base)
    tokenizer.save_pretrained(base)
    format = Format.model_validate(inputs["format"])
    if format.is_base:
        return base
    # Only formats with scales of activations found on data look at the calibration.
    few = Calibration(source="random", samples=1, length=16)
    recipe = Recipe(scales="minmax", group_size=inputs["group_size"], calibration=few)
    quantize_checkpoint(base, format, recipe, job.directory / "checkpoint")
    return job.directory / "checkpoint"


PROBE = Kind(
    "probe",
    version=2,
    run=run,
    preload=(
        "torch",
        "transformers.models.auto.modeling_auto",
        "transformers.models.auto.tokenization_auto",
        "transformers.models.llama.modeling_llama",
        "whichbits.quantization.passes.direct",
    ),
)
