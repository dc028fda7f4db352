"""Step `quantize`: make a checkpoint of a format."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from whichbits.studies.steps.items import write_items
from whichbits.studies.steps.job import custom_code, threads
from whichbits.studies.steps.provenance import provenance
from whichbits.studies.steps.step import Job, Kind, Result, StepContext


def run(jobs: Sequence[Job], context: StepContext) -> Iterator[tuple[Job, Result]]:
    """Make a checkpoint of a format."""
    import torch

    from whichbits.formats.format import Format
    from whichbits.quantization.passes.direct import quantize_checkpoint
    from whichbits.quantization.recipe.recipe import Recipe

    for job in jobs:
        torch.set_num_threads(threads(job))
        inputs = job.cell.inputs
        manifest, errors = quantize_checkpoint(
            Path(job.cell.places["base"]),
            Format.model_validate(inputs["format"]),
            Recipe.model_validate(inputs["recipe"]),
            job.directory / "checkpoint",
            base_files=inputs["base"],
            on_progress=lambda done, total: context.progress(f"{done} of {total} modules"),
            allow_custom_code=custom_code(job),
        )
        write_items(job.directory, [error.model_dump() for error in errors])
        summary = {
            "bytes": manifest.bytes,
            "bits_per_weight": manifest.bits_per_weight,
            "weights": manifest.weights,
            "files": manifest.files,
        }
        yield job, Result(summary, provenance(job, versions=manifest.versions, seed=inputs["recipe"]["seed"]))


QUANTIZE = Kind(
    "quantize",
    version=7,
    run=run,
    preload=("torch", "compressed_tensors", "whichbits.quantization.passes.direct"),
)
