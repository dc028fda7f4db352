"""Speeds that another tool measured, as steps `serve`: compared where the load was the same, and refused where it was not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from whichbits.core.errors import UserError
from whichbits.schema.labels import IMPORTED, Labels
from whichbits.schema.provenance import Provenance
from whichbits.schema.serve import ImportedServeInputs, ImportedServeLocal, ImportedSpeeds, ServeSummary
from whichbits.schema.step import Step
from whichbits.studies.steps.planned import Planned
from whichbits.studies.steps.shared.differences import Places
from whichbits.studies.steps.shared.digest import digest
from whichbits.studies.steps.shared.imported import SPEEDS, VERSION
from whichbits.studies.steps.shared.imported import notes_on as notes
from whichbits.studies.steps.shared.items import write_items
from whichbits.studies.steps.step import Job, Result
from whichbits.studies.steps.study import ImportedWorkload

if TYPE_CHECKING:
    from whichbits.serving.importers.importer import ImportedLoad, ImportedRun
    from whichbits.studies.specification.speeds import Speeds
    from whichbits.studies.steps.study import Study
    from whichbits.studies.steps.subject import Subject

SAME_WORK = 0.01
"""By how much mean lengths of prompts, or of outputs, may differ."""
ONE_AFTER_THE_OTHER = (
    f"{SPEEDS}: base and candidate were not measured in interleaved rounds here: what drifted is in their ratio"
)


def imported(study: Study) -> tuple[ImportedWorkload, ...]:
    """What a specification says was measured elsewhere. Raises UserError for what cannot be read, or not be compared."""
    found = tuple(_imported(study, index, speeds) for index, speeds in enumerate(study.specification.speeds))
    names = [*(one.workload.name for one in found), *(workload.name for workload in study.workloads)]
    study.source.refuse_twice(("speeds",), "workload", names)
    return found


def _imported(study: Study, index: int, speeds: Speeds) -> ImportedWorkload:
    from whichbits.serving.importers.registry import read
    from whichbits.serving.importers.results import workload_of

    files = speeds.of_base(study.base)
    subjects = {subject.name: subject for subject in study.subjects}
    for name in files:
        if name not in subjects:
            remedy = f"name the base or one of {', '.join(list(subjects)[1:])}"
            raise study.source.error(("speeds", index, "from", name), "is no candidate", remedy)
    if study.base not in files or len(files) == 1:
        remedy = "add `base: PATH`, and the same of each candidate to compare"
        raise study.source.error(("speeds", index, "from"), "names not both the base and a candidate", remedy)
    try:
        runs = {name: read(path) for name, path in files.items()}
        base = runs.pop(study.base)
        for run in runs.values():
            refuse_differences(base, run)
    except UserError as error:
        raise study.source.placed(("speeds", index), error) from error
    workload = workload_of([load for run in (base, *runs.values()) for load in run.loads], speeds.name)
    steps: list[Planned] = []
    for name, run in runs.items():
        labels = _labels(subjects[name], speeds)
        steps += (Planned(step) for step in steps_of(base, run, labels))
    return ImportedWorkload(workload.model_copy(update={"slo": speeds.slo}), tuple(steps), notes_on((base, *runs.values())))


def _labels(subject: Subject, speeds: Speeds) -> Labels:
    return Labels(
        candidate=subject.name,
        workload=speeds.name,
        deployment=speeds.deployment,
        engine=IMPORTED,
        format=subject.format.name,
    )


def notes_on(runs: Sequence[ImportedRun]) -> tuple[str, ...]:
    """Where speeds are from, what their tool does not say, and how they were measured."""
    sources = (f"{run.path}, of {run.model!r}" for run in runs)
    return (*notes(SPEEDS, runs[0].tool, sources, runs[0].unknown), ONE_AFTER_THE_OTHER)


def refuse_differences(base: ImportedRun, candidate: ImportedRun) -> None:
    """Raise UserError where two runs were not put under the same load: tool, a setting, all loads, or lengths."""
    from whichbits.serving.importers.results import mean_output, mean_prompt

    places = Places(base.path, candidate.path)
    places.refuse("tool", base.tool, candidate.tool, "import both from one tool")
    places.refuse_settings("", base.settings, candidate.settings)
    ours, theirs = (", ".join(sorted({load.level.name for load in run.loads})) for run in (base, candidate))
    pairs = list(_pairs(base, candidate))
    if not pairs:
        places.refuse("load", ours, theirs, "measure both at the same concurrency or rate")
    for left, right in pairs:
        for what, of in (("prompt tokens", mean_prompt), ("output tokens", mean_output)):
            one, other = of(left), of(right)
            if one is not None and other is not None and abs(one - other) > max(1.0, SAME_WORK * one):
                remedy = "send both the same requests, and force the length of the output (ignore_eos)"
                places.refuse(f"{left.level.name}: mean {what}", f"{one:.1f}", f"{other:.1f}", remedy)


def _pairs(base: ImportedRun, candidate: ImportedRun) -> Iterator[tuple[ImportedLoad, ImportedLoad]]:
    """Loads of the same name, the first of the base with the first of the candidate, and so on."""
    for name in dict.fromkeys(load.level.name for load in base.loads):
        yield from zip(_repeats(base, name), _repeats(candidate, name), strict=False)


def _repeats(run: ImportedRun, name: str) -> list[ImportedLoad]:
    return sorted((load for load in run.loads if load.level.name == name), key=lambda load: load.began)


def _of_round(run: ImportedRun, repeat: int) -> list[ImportedLoad]:
    levels = dict.fromkeys(load.level.name for load in run.loads)
    return [found[repeat] for name in levels if repeat < len(found := _repeats(run, name))]


def steps_of(base: ImportedRun, candidate: ImportedRun, labels: Labels) -> Iterator[Step]:
    """A step a round that both have, as often as a load was measured; `labels` but for the round."""
    levels = {load.level.name for load in base.loads}
    rounds = max(min(len(_repeats(run, name)) for run in (base, candidate)) for name in levels)
    local = ImportedServeLocal(base=base.path, candidate=candidate.path)
    for repeat in range(rounds):
        speeds = ImportedSpeeds(
            tool=base.tool, models=(base.model, candidate.model), rows=_digest(base, candidate, repeat), repeat=repeat
        )
        own = labels.model_copy(update={"repeat": repeat})
        yield Step("serve", VERSION, ImportedServeInputs(imported=speeds), labels=own, local=local)


def _digest(base: ImportedRun, candidate: ImportedRun, repeat: int) -> str:
    loads = [_of_round(run, repeat) for run in (base, candidate)]
    return digest([[[load.level.name, [asdict(one) for one in load.seen]] for load in side] for side in loads])


def together(step: Step) -> str | None:
    """Imported speeds are read in one process."""
    return IMPORTED if isinstance(step.inputs, ImportedServeInputs) else None


def run(jobs: Sequence[Job]) -> Iterator[tuple[Job, Result | Exception]]:
    """Each round's result, from the files that the plan has read, each read once."""
    from whichbits.serving.importers.registry import read

    runs: dict[Path, ImportedRun] = {}
    for job in jobs:
        local = job.step.local_as(ImportedServeLocal)
        try:
            for path in (local.base, local.candidate):
                if path not in runs:
                    runs[path] = read(path)
            yield job, result_of_round(job.step, runs[local.base], runs[local.candidate], job.directory)
        except UserError as error:
            yield job, error


def result_of_round(step: Step, base: ImportedRun, candidate: ImportedRun, directory: Path) -> Result:
    """The result of a step of `steps_of`, its table written into a directory. Raises UserError where the files have changed."""
    from whichbits.serving.importers.results import described, result_of, workload_of

    speeds = step.inputs_as(ImportedServeInputs).imported
    if speeds.rows != _digest(base, candidate, speeds.repeat):
        raise UserError(f"{candidate.path} has changed since the study was planned", remedy="run the command again")
    lacks = base.lacks | candidate.lacks
    workload = workload_of([*base.loads, *candidate.loads], IMPORTED)
    results = {
        role: [result_of(load, lacks, workload) for load in _of_round(run, speeds.repeat)]
        for role, run in (("base", base), ("candidate", candidate))
    }
    rows = [row for role, loads in results.items() for load in loads for row in load.table(role)]
    write_items(directory, rows)
    summary = ServeSummary(
        session=IMPORTED,
        load_levels=tuple(load.level() for load in results["candidate"]),
        base_load_levels=tuple(load.level() for load in results["base"]),
        metrics=described(lacks),
    )
    return Result(summary, Provenance(imported=str(candidate.path), tool=base.tool, engine=IMPORTED))
