"""Speeds of another tool as a study: a base and a candidate, compared where their load was the same, and refused where not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from whichbits.schema.labels import Labels
from whichbits.schema.provenance import Provenance
from whichbits.schema.serve import ImportedServeInputs, ImportedSpeeds, ServeSummary
from whichbits.schema.step import Step
from whichbits.schema.workload import Workload
from whichbits.serving.importers.importer import ImportedLoad, ImportedRun
from whichbits.serving.importers.registry import read
from whichbits.serving.importers.results import described, mean_output, mean_prompt, result_of, workload_of
from whichbits.studies.imported.differences import Places
from whichbits.studies.imported.study import ENGINE, VERSION, Part, imported_notes, judge, names
from whichbits.studies.steps.shared.digest import digest
from whichbits.studies.steps.shared.items import write_items
from whichbits.studies.store.store import Store

if TYPE_CHECKING:
    from whichbits.schema.deployment import Deployment
    from whichbits.verdict.verdict import Verdict

NAME = "imported"
"""Of the workload, and of the deployment."""
SAME_WORK = 0.01
"""By how much mean lengths of prompts, or of outputs, may differ."""
ONE_AFTER_THE_OTHER = "speeds: base and candidate were not measured in interleaved rounds here: what drifted is in their ratio"


def judge_imported_speeds(
    base: Path, candidate: Path, store: Store, *, command: str, deployment: Deployment | None = None
) -> Verdict:
    """The verdict on the candidate, from what another tool measured of both; their requests are kept in `store` as steps.

    Where `store` has imported scores of the same two, it is on both. Raises UserError, which names a field and both values,
    where the two were not measured by one tool, on the same hardware and engine, at the same loads and lengths.
    """
    runs = (read(base), read(candidate))
    refuse_differences(*runs)
    called = names("serve", runs[0].model, runs[1].model, store)
    workload = workload_of([load for run in runs for load in run.loads], NAME)
    with store.locked():
        steps = [_keep(runs, called[1], workload, repeat, store) for repeat in range(_rounds(*runs))]
        return judge(
            Part(
                kind="serve",
                base=called[0],
                candidate=called[1],
                models=(runs[0].model, runs[1].model),
                steps=tuple(steps),
                notes=(
                    *imported_notes("serve", runs[0].tool, [run.path for run in runs], runs[0].unknown),
                    ONE_AFTER_THE_OTHER,
                ),
                margin=None,
                command=command,
                workloads={NAME: workload},
                deployments={} if deployment is None else {NAME: deployment},
            ),
            store,
        )


def refuse_differences(base: ImportedRun, candidate: ImportedRun) -> None:
    """Raise UserError where two runs were not put under the same load: tool, a setting, all loads, or lengths."""
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


def _rounds(base: ImportedRun, candidate: ImportedRun) -> int:
    """Rounds that both have: as often as a load was measured."""
    levels = {load.level.name for load in base.loads}
    return max(min(len(_repeats(run, name)) for run in (base, candidate)) for name in levels)


def _of_round(run: ImportedRun, repeat: int) -> list[ImportedLoad]:
    levels = dict.fromkeys(load.level.name for load in run.loads)
    return [found[repeat] for name in levels if repeat < len(found := _repeats(run, name))]


def _keep(runs: Sequence[ImportedRun], candidate: str, workload: Workload, repeat: int, store: Store) -> Step:
    """The step of a round's imported speeds, its result written where it is not there yet."""
    base, other = runs
    lacks = base.lacks | other.lacks
    loads = [_of_round(run, repeat) for run in runs]
    hashed = digest([[[load.level.name, [asdict(one) for one in load.seen]] for load in side] for side in loads])
    imported = ImportedSpeeds(tool=base.tool, models=(base.model, other.model), rows=hashed, repeat=repeat)
    labels = Labels(candidate=candidate, workload=NAME, deployment=NAME, engine=ENGINE, repeat=repeat, format=other.model)
    step = Step("serve", VERSION, ImportedServeInputs(imported=imported), labels=labels)
    if not store.done(step):
        partial = store.partial(step)
        results = [[result_of(load, lacks, workload) for load in side] for side in loads]
        roles = ("base", "candidate")
        rows = [row for role, side in zip(roles, results, strict=True) for one in side for row in one.table(role)]
        write_items(partial, rows)
        summary = ServeSummary(
            session=NAME,
            load_levels=tuple(one.level() for one in results[1]),
            base_load_levels=tuple(one.level() for one in results[0]),
            metrics=described(lacks),
        )
        store.finish(step, partial, summary, Provenance(imported=str(other.path), tool=base.tool, engine=ENGINE))
    return step
