"""Step `quantize`: make a checkpoint of a format."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whichbits.core.errors import UserError
from whichbits.schema.step import Cell, Json
from whichbits.studies.steps.items import write_items
from whichbits.studies.steps.job import custom_code, threads
from whichbits.studies.steps.planned import Planned
from whichbits.studies.steps.provenance import provenance
from whichbits.studies.steps.step import Job, Kind, Result, StepContext

if TYPE_CHECKING:
    from whichbits.formats.format import Format
    from whichbits.studies.specification.schema import Candidate
    from whichbits.studies.steps.study import Study


def plan(study: Study, before: Sequence[Planned]) -> Iterator[Planned]:
    """A step for each candidate whose checkpoint is to be made."""
    yield from (subject.made_by for subject in study.subjects if subject.made_by)


def making(study: Study, candidate: Candidate) -> tuple[Format, Planned]:
    """A candidate's format, fitted to the model, and the step that makes its checkpoint."""
    from whichbits.formats.catalogue import get
    from whichbits.formats.format import fit
    from whichbits.quantization.model.structure import layer_linears

    assert candidate.format is not None
    format = get(candidate.format)
    recipe = _recipe(candidate.recipe, study.specification.seed, format)
    if format.is_base or format.refused:
        why = format.refused or "it is the base's own"
        raise UserError(f"format {format.name} cannot be made: {why}", remedy="choose another format")
    shapes = study.model.shapes
    named = (name for layer in layer_linears(study.model.configuration, shapes) for name in layer)
    fitted = fit(format, {(shapes[name][0], shapes[name][1]) for name in named}, group_size=recipe["group_size"])
    cell = Cell(
        "quantize",
        QUANTIZE.version,
        {"base": dict(study.model.files), "format": fitted.model_dump(mode="json"), "recipe": recipe},
        labels={"candidate": candidate.name, "format": fitted.name},
        places={"base": str(study.model.path), "custom_code": study.specification.trust_remote_code},
    )
    return fitted, Planned(cell, "local")


def _recipe(recipe: Mapping[str, Any] | str, seed: int, format: Format) -> dict[str, Json]:
    """A recipe with its defaults, and the hash of its calibration data, so that it decides the result alone.

    Without any fields it is that of the default effort. A named recipe's group size is left out where the format has none to
    choose.
    """
    from whichbits.quantization.calibration.data import pinned
    from whichbits.quantization.recipe.options import fitting, recipe_of
    from whichbits.quantization.recipe.presets import recipe_fields

    fields = recipe_fields(recipe)
    fields = fitting(fields, format) if isinstance(recipe, str) else fields
    return pinned(recipe_of({"seed": seed, **fields}, format, None, own_recipe=bool(recipe))).model_dump(mode="json")


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
    plan=plan,
    run=run,
    preload=("torch", "compressed_tensors", "whichbits.quantization.passes.direct"),
)
