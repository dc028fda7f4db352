"""Scores of another tool as a study: a base and a candidate, compared where they answered the same, and refused where not."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from whichbits.core.errors import UserError
from whichbits.core.foreign import damaged
from whichbits.schema.evaluate import EvaluateItem, EvaluateSummary, Imported, ImportedInputs
from whichbits.schema.labels import IMPORTED, Labels
from whichbits.schema.provenance import Provenance
from whichbits.schema.step import Step
from whichbits.studies.imported.study import Part, judge, names
from whichbits.studies.steps.shared.differences import Places
from whichbits.studies.steps.shared.digest import digest
from whichbits.studies.steps.shared.imported import SCORES, VERSION, notes_on
from whichbits.studies.steps.shared.items import write_items
from whichbits.studies.store.importers.importer import ImportedItem, ImportedRun, ImportedTask
from whichbits.studies.store.importers.registry import read
from whichbits.studies.store.store import Store

if TYPE_CHECKING:
    from whichbits.verdict.verdict import Verdict


def judge_imported(
    base: Path,
    candidate: Path,
    store: Store,
    *,
    tasks: Sequence[str] = (),
    metric: str | None = None,
    margin: float = 0.01,
    command: str = "",
) -> Verdict:
    """The decision on the candidate, from what another tool wrote of both; their scores are kept in `store` as steps.

    Raises UserError, which names a field and both values, where the two runs are not of the same prompts, versions, examples,
    filters or metrics.
    """
    runs = [_of_tasks(read(path, metric), tasks) for path in (base, candidate)]
    refuse_differences(*runs)
    called = names("evaluate", runs[0].model, runs[1].model, store)
    with store.locked():
        steps = [_keep(run, task, name, store) for run, name in zip(runs, called, strict=True) for task in run.tasks]
        return judge(
            Part(
                kind="evaluate",
                base=called[0],
                candidate=called[1],
                models=(runs[0].model, runs[1].model),
                steps=tuple(steps),
                notes=notes_on(SCORES, runs[0].tool, [run.path for run in runs], runs[0].unknown),
                margin=margin,
                command=command or shlex.join(["whichbits", "evaluate", "--from", str(base), "--from", str(candidate)]),
                workloads={},
                deployments={},
            ),
            store,
        )


def refuse_differences(base: ImportedRun, candidate: ImportedRun) -> None:
    """Raise UserError where two runs did not do the same: a tool, a setting, the tasks, their settings, items or prompts."""
    places = Places(base.path, candidate.path)
    places.refuse("tool", base.tool, candidate.tool, "import both from one tool")
    places.refuse_settings("", base.settings, candidate.settings)
    ours, theirs = ({task.name: task for task in run.tasks} for run in (base, candidate))
    if one_sided := sorted(ours.keys() ^ theirs.keys()):
        shared = sorted(ours.keys() & theirs.keys())
        raise UserError(
            f"from: task {one_sided[0]} is in {(base if one_sided[0] in ours else candidate).path} alone",
            remedy=f"name those that are in both with --task: {', '.join(shared) or 'there is none'}",
        )
    for name, task in ours.items():
        other = theirs[name]
        places.refuse_settings(f"{name}: ", task.settings, other.settings)
        places.refuse(f"{name}: metric", task.metric, other.metric, "score both by one metric, as with --metric")
        _refuse_items(task, other, base, candidate)


def _refuse_items(task: ImportedTask, other: ImportedTask, base: ImportedRun, candidate: ImportedRun) -> None:
    ours, theirs = _by_name(task, base), _by_name(other, candidate)
    if missing := ours.keys() ^ theirs.keys():
        first = next(name for name in (*ours, *theirs) if name in missing)
        place = base if first in ours else candidate
        raise UserError(
            f"from: {task.name}: {len(missing)} items are in one run alone, first {first} in {place.path}",
            remedy="run both on the same items",
        )
    for name, item in ours.items():
        for field in ("prompt", "target"):
            left, right = getattr(item, field), getattr(theirs[name], field)
            what = f"{task.name}: {field} of item {name}"
            places = Places(base.path, candidate.path)
            places.refuse(what, left, right, "ask both the same: one tokenizer, chat template and task")


def _by_name(task: ImportedTask, run: ImportedRun) -> dict[str, ImportedItem]:
    found = {item.item: item for item in task.items}
    if len(found) < len(task.items):
        raise damaged(run.path, f"has an item of {task.name} twice")
    return found


def _of_tasks(run: ImportedRun, names: Sequence[str]) -> ImportedRun:
    """The run with the tasks of these names alone, or all. Raises UserError where it lacks one, and where there is none."""
    if not run.tasks:
        raise damaged(run.path, "has no tasks, so that nothing is imported")
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UserError(f"task: {twice!r:.80} is named {names.count(twice)} times", remedy="name it once")
    there = {task.name: task for task in run.tasks}
    for name in names:
        if name not in there:
            raise UserError(f"task: {run.path} has no task {name!r:.80}", remedy=f"choose from {', '.join(there)}")
    return replace(run, tasks=tuple(there[name] for name in names)) if names else run


def _keep(run: ImportedRun, task: ImportedTask, name: str, store: Store) -> Step:
    """The step of a task's imported scores, its result written where it is not there yet."""
    rows = list(_rows(task))
    hashed = digest([asdict(row) for row in rows])
    imported = Imported(tool=run.tool, task=task.name, metric=task.metric, rows=hashed, model=run.model)
    labels = Labels(candidate=name, task=task.name, engine=IMPORTED, format=run.model)
    step = Step("evaluate", VERSION, ImportedInputs(imported=imported), labels=labels)
    if not store.done(step):
        partial = store.partial(step)
        write_items(partial, rows)
        summary = EvaluateSummary(
            task=task.name,
            kind=run.tool,
            metric=task.metric,
            n=len(rows),
            available=len(rows),
            most=len(rows),
            score=sum(item.score for item in task.items) / len(rows),
            chance=task.chance,
        )
        store.finish(step, partial, summary, Provenance(imported=str(run.path), tool=run.tool, engine=run.engine))
    return step


def _rows(task: ImportedTask) -> Iterator[EvaluateItem]:
    for item in task.items:
        yield EvaluateItem(
            item=item.item,
            prompt_hash=item.prompt_hash,
            target_hash=item.target_hash,
            cluster=item.item,
            score=item.score,
            prediction=item.prediction,
            target=item.target,
        )
