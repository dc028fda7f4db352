"""Step `quantize`: make a checkpoint of a format."""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from whichbits.core.durations import duration
from whichbits.core.errors import UserError
from whichbits.schema.labels import Labels
from whichbits.schema.quantize import QuantizeInputs, QuantizeLocal, QuantizeSummary
from whichbits.schema.step import Step
from whichbits.studies.steps.planned import Needs, Planned
from whichbits.studies.steps.shared.items import write_items
from whichbits.studies.steps.shared.job import threads
from whichbits.studies.steps.shared.on_engine import trusted
from whichbits.studies.steps.shared.provenance import provenance
from whichbits.studies.steps.step import Job, Kind, ProcessLost, Result, StepContext

if TYPE_CHECKING:
    from whichbits.formats.format import Format
    from whichbits.quantization.model.ranks import Ranks
    from whichbits.quantization.passes.calibrated import Target
    from whichbits.quantization.passes.shared_pass import Made
    from whichbits.quantization.recipe.recipe import Recipe
    from whichbits.studies.specification.schema import Candidate
    from whichbits.studies.steps.study import Study


def plan(study: Study, before: Sequence[Planned]) -> Iterator[Planned]:
    """A step for each candidate whose checkpoint is to be made."""
    yield from (subject.made_by for subject in study.subjects if subject.made_by)


def making(study: Study, candidate: Candidate) -> tuple[Format, Planned]:
    """A candidate's format, fitted to the model, and the step that makes its checkpoint."""
    from whichbits.formats.catalogue import get
    from whichbits.formats.format import fit

    assert candidate.format is not None
    format = get(candidate.format)
    recipe = _recipe(candidate.recipe, study.specification.seed, format)
    if format.is_base or format.refused:
        why = format.refused or "it is the base's own"
        raise UserError(f"format {format.name} cannot be made: {why}", remedy="choose another format")
    fitted = fit(format, study.matrices, group_size=recipe.group_size)
    inputs: QuantizeInputs[Format, Recipe] = QuantizeInputs(
        base=study.model.files, format=fitted, recipe=recipe, packages=recipe.packages or None
    )
    step = Step(
        "quantize",
        QUANTIZE.version,
        inputs,
        labels=Labels(candidate=candidate.name, format=fitted.name),
        local=QuantizeLocal(base=study.model.path, trust_remote_code=trusted(study)),
    )
    return fitted, Planned(step, Needs(nodes=_nodes(study, fitted, recipe)))


def _nodes(study: Study, format: Format, recipe: Recipe) -> int:
    """Nodes, at most, that share its calibration: as many as there are batches of samples; one where there is none."""
    from whichbits.quantization.model.decoder import batches

    if not recipe.needs_data(format):
        return 1
    return min(study.specification.executor.nodes, batches(recipe.calibration.samples, recipe.calibration.length))


def matrices(study: Study) -> frozenset[tuple[int, int]]:
    """[rows, columns] of the model's weights to quantize. Raises UserError as `layer_linears`."""
    from whichbits.quantization.model.structure import layer_linears

    shapes = study.model.shapes
    named = (name for layer in layer_linears(study.model.configuration, shapes) for name in layer)
    return frozenset((shapes[name][0], shapes[name][1]) for name in named)


def _recipe(recipe: Mapping[str, Any] | str, seed: int, format: Format) -> Recipe:
    """A recipe with its defaults, and the hash of its calibration data, so that it decides the result alone.

    Without any fields it is that of the default effort. A named recipe's group size is left out where the format has none to
    choose.
    """
    from whichbits.quantization.calibration.data import pinned
    from whichbits.quantization.recipe.options import fitting, recipe_of
    from whichbits.quantization.recipe.presets import recipe_fields

    fields = recipe_fields(recipe)
    fields = fitting(fields, format) if isinstance(recipe, str) else fields
    return pinned(recipe_of({"seed": seed, **fields}, format, None, own_recipe=bool(recipe)))


def together(step: Step) -> str | None:
    """What checkpoints that one calibrated pass makes have in common; None for one that is made without data."""
    inputs: QuantizeInputs[Format, Recipe] = step.inputs_as(QuantizeInputs)
    recipe = inputs.recipe
    if not recipe.needs_data(inputs.format):
        return None
    alike = {"seed": recipe.seed, "calibration": recipe.calibration.model_dump(mode="json"), "base": dict(inputs.base)}
    return json.dumps(alike, sort_keys=True)


def estimate(study: Study) -> Callable[[Step], float | None]:
    """Seconds of making checkpoints, by how fast this machine multiplies and rounds.

    What steps of one pass share (the text that the model generates, Hessians, the way back) counts for the first of them. Text
    that is kept already takes no time.
    """
    from whichbits.quantization.calibration.kept_text import kept_text
    from whichbits.quantization.estimate import cost, further_seconds, measure_rounding, measure_speed, widths_of
    from whichbits.quantization.model.structure import layer_linears

    configuration, shapes = study.model.configuration, study.model.shapes
    widths = widths_of(configuration, shapes, layer_linears(configuration, shapes))
    speed = measure_speed()
    counted: set[str] = set()

    def seconds(step: Step) -> float:
        inputs: QuantizeInputs[Format, Recipe] = step.inputs_as(QuantizeInputs)
        format, recipe = inputs.format, inputs.recipe
        work, rounding = together(step), measure_rounding(format, recipe)
        if work in counted:
            return further_seconds(widths, format, recipe, speed, rounding)
        if work is not None:
            counted.add(work)
        kept = kept_text(study.model.files, recipe.calibration.length, recipe.seed).count()
        return cost(widths, format, recipe, speed, rounding, kept).seconds

    return seconds


def run(jobs: Sequence[Job], context: StepContext) -> Iterator[tuple[Job, Result | Exception]]:
    """Make checkpoints of one base model, those that can share a calibrated pass in one.

    Where a pass of several fails, why is printed and each is made alone: what one of them cannot have leaves the others as they
    are. Layers that are finished by then are kept, as they are when the run is killed. Where several nodes share the samples, a
    pass that fails fails for all of them. Raises ProcessLost where the process of one is lost.
    """
    import torch

    from whichbits.quantization.model.ranks import RankLost, joined

    torch.set_num_threads(threads(jobs[0]))
    try:
        with joined() as ranks:
            yield from _run(jobs, context, ranks)
    except RankLost as error:
        raise ProcessLost(str(error)) from error


def _run(jobs: Sequence[Job], context: StepContext, ranks: Ranks) -> Iterator[tuple[Job, Result | Exception]]:
    from whichbits.quantization.passes.shared_pass import passes

    targets = {job.step.key: _target(job) for job in jobs}
    for group in passes(targets.values()):
        members = [job for job in jobs if targets[job.step.key] in group]
        made = _made(members, group, context, ranks)
        if isinstance(made, Exception) and ranks.count > 1:
            raise made  # the others cannot know which pass would be next
        if isinstance(made, Exception) and len(members) > 1:
            traceback.print_exception(made)
            _let_go(made)
            for job, target in zip(members, group, strict=True):
                alone = _made([job], [target], context, ranks)
                yield job, alone if isinstance(alone, Exception) else _result(job, alone[0], [job])
            continue
        for number, job in enumerate(members if ranks.first else ()):
            yield job, made if isinstance(made, Exception) else _result(job, made[number], members)


def _target(job: Job) -> Target:
    from whichbits.quantization.passes.calibrated import Target

    inputs: QuantizeInputs[Format, Recipe] = job.step.inputs_as(QuantizeInputs)
    return Target(inputs.format, inputs.recipe, job.directory / "checkpoint", job.kept)


def _made(jobs: Sequence[Job], targets: Sequence[Target], context: StepContext, ranks: Ranks) -> list[Made] | Exception:
    """The checkpoints of one pass, or why there are none; none on other nodes than the first. Raises RankLost."""
    from whichbits.quantization.model.ranks import RankLost
    from whichbits.quantization.passes.shared_pass import LAYERS, TEXT, make

    def start(what: str) -> Callable[[int, int], None]:
        if what == TEXT:
            return _TextProgress(context.progress)
        counted = LAYERS if what == LAYERS else "modules"
        return lambda done, total: context.progress(f"{done} of {total} {counted}")

    first = jobs[0]
    local = first.step.local_as(QuantizeLocal)
    try:
        return make(
            local.base,
            targets,
            base_files=first.step.inputs_as(QuantizeInputs).base,
            start=start,
            texts=first.shared,
            ranks=ranks,
            trust_remote_code=local.trust_remote_code,
        )
    except RankLost:
        raise
    except Exception as error:  # noqa: BLE001 - memory or arithmetic may fail one pass of several formats, and none alone
        return error


class _TextProgress:
    """Says how much of the calibration text is generated, how fast, and how long the rest takes."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._began: tuple[float, int] | None = None
        """When the first count came, and which: text that was kept takes no time."""

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        self._began = self._began or (now, done)
        rate = (done - self._began[1]) / (now - self._began[0]) if now > self._began[0] else 0.0
        speed = f", {rate:.0f} tokens/s, {duration((total - done) / rate)} left" if rate else ""
        self._say(f"calibration text: {done} of {total} tokens{speed}")


def _let_go(error: BaseException) -> None:
    """Clear the frames that an error, and those that it came of, went through: they hold layers and statistics of the pass."""
    traceback.clear_frames(error.__traceback__)
    for earlier in {error.__cause__, error.__context__}:
        if earlier is not None:
            _let_go(earlier)


def _result(job: Job, made: Made, members: Sequence[Job]) -> Result:
    manifest, errors = made
    write_items(job.directory, errors)
    summary = QuantizeSummary(
        bytes=manifest.bytes,
        bits_per_weight=manifest.bits_per_weight,
        weights=manifest.weights,
        files=manifest.files,
    )
    inputs: QuantizeInputs[Format, Recipe] = job.step.inputs_as(QuantizeInputs)
    others = tuple(each.step.labels.candidate for each in members if each is not job)
    made_with = others if members[1:] else None
    return Result(summary, provenance(job, versions=manifest.versions, seed=inputs.recipe.seed, made_with=made_with))


QUANTIZE = Kind(
    "quantize",
    version=8,
    plan=plan,
    run=run,
    estimate=estimate,
    preload=("torch", "compressed_tensors", "whichbits.quantization.passes.direct"),
    together=together,
)
