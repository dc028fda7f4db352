"""Results of another tool as a study: a base and a candidate, compared where they answered the same, and refused where not."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from importlib import metadata
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

from whichbits.core.errors import UserError
from whichbits.schema.evaluate import EvaluateItem, EvaluateSummary, Imported, ImportedInputs
from whichbits.schema.labels import Labels
from whichbits.schema.provenance import Provenance
from whichbits.schema.step import Step
from whichbits.studies.steps.shared.digest import digest
from whichbits.studies.steps.shared.items import write_items
from whichbits.studies.store.importers.importer import ImportedItem, ImportedRun, ImportedTask, Setting, damaged
from whichbits.studies.store.importers.registry import read
from whichbits.studies.store.manifest import FILE, SCHEMA, StudyManifest, entries
from whichbits.studies.store.manifest import read as read_manifest
from whichbits.studies.store.store import Store

if TYPE_CHECKING:
    from whichbits.verdict.verdict import Verdict

VERSION = 1
"""Of what is made of imported results."""
NAME = "imported"
"""Of the study."""
ENGINE = "imported"
"""Label of the engine of imported scores."""
SHOWN = 60
"""Characters of a value that an error shows."""


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
    from whichbits.studies import conclusion

    runs = [_of_tasks(read(path, metric), tasks) for path in (base, candidate)]
    refuse_differences(*runs)
    names = _names(runs[0].model, runs[1].model)
    _refuse_other_study(store)
    with store.locked():
        steps = [_keep(run, task, name, store) for run, name in zip(runs, names, strict=True) for task in run.tasks]
        manifest = _manifest(runs, names, steps, margin, command)
        manifest.write(store.folder)
        records = manifest.records(store)
        verdict = conclusion.judge(manifest, records)
        conclusion.write(verdict, manifest, records, store.folder)
    return verdict


def _refuse_other_study(store: Store) -> None:
    """Raise UserError where the store is another study's, whose verdict would be lost."""
    if (store.folder / FILE).is_file() and (name := read_manifest(store.folder).study) != NAME:
        raise UserError(f"store: {store.folder} is the store of study {name}", remedy="name another --store")


def refuse_differences(base: ImportedRun, candidate: ImportedRun) -> None:
    """Raise UserError where two runs did not do the same: a tool, a setting, the tasks, their settings, items or prompts."""
    _refuse("tool", base.tool, candidate.tool, base, candidate, "import both from one tool")
    _refuse_settings("", base.settings, candidate.settings, base, candidate)
    ours, theirs = ({task.name: task for task in run.tasks} for run in (base, candidate))
    if one_sided := sorted(ours.keys() ^ theirs.keys()):
        shared = sorted(ours.keys() & theirs.keys())
        raise UserError(
            f"from: task {one_sided[0]} is in {(base if one_sided[0] in ours else candidate).path} alone",
            remedy=f"name those that are in both with --task: {', '.join(shared) or 'there is none'}",
        )
    for name, task in ours.items():
        other = theirs[name]
        _refuse_settings(f"{name}: ", task.settings, other.settings, base, candidate)
        _refuse(f"{name}: metric", task.metric, other.metric, base, candidate, "score both by one metric, as with --metric")
        _refuse_items(task, other, base, candidate)


def _refuse_settings(
    prefix: str, ours: Sequence[Setting], theirs: Sequence[Setting], base: ImportedRun, candidate: ImportedRun
) -> None:
    """Settings of one tool; what one run states and the other does not is a difference."""
    left, right = ({setting.field: setting for setting in side} for side in (ours, theirs))
    for field in dict.fromkeys([*left, *right]):
        one, other = (side[field].value if field in side else "not stated" for side in (left, right))
        _refuse(f"{prefix}{field}", one, other, base, candidate, (left.get(field) or right[field]).remedy)


def _refuse(field: str, ours: str, theirs: str, base: ImportedRun, candidate: ImportedRun, remedy: str) -> None:
    if ours != theirs:
        left, right = _excerpts(ours, theirs)
        raise UserError(f"from: {field} differs: {left} in {base.path}, {right} in {candidate.path}", remedy=remedy)


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
            _refuse(what, left, right, base, candidate, "ask both the same: one tokenizer, chat template and task")


def _by_name(task: ImportedTask, run: ImportedRun) -> dict[str, ImportedItem]:
    found = {item.item: item for item in task.items}
    if len(found) < len(task.items):
        raise damaged(run.path, f"has an item of {task.name} twice")
    return found


def _excerpts(left: str, right: str) -> tuple[str, str]:
    """Two different texts, of long ones what is around the first character in which they differ."""
    if max(len(left), len(right)) <= SHOWN:
        return left, right
    place = next(i for i, (one, other) in enumerate(zip_longest(left, right)) if one != other)
    start = max(0, place - SHOWN // 2)
    return _excerpt(left, start), _excerpt(right, start)


def _excerpt(text: str, start: int) -> str:
    end = start + SHOWN
    return f"{'…' if start else ''}{text[start:end]}{'…' if end < len(text) else ''}"


def _of_tasks(run: ImportedRun, names: Sequence[str]) -> ImportedRun:
    """The run with the tasks of these names alone, or all. Raises UserError where it lacks one."""
    there = {task.name: task for task in run.tasks}
    for name in names:
        if name not in there:
            raise UserError(f"task: {run.path} has no task {name!r:.80}", remedy=f"choose from {', '.join(there)}")
    return replace(run, tasks=tuple(there[name] for name in names)) if names else run


def _names(base: str, candidate: str) -> tuple[str, str]:
    """What base and candidate are called: the last part of their models' names, or where these are one, base and candidate."""
    short = [name.rstrip("/").rsplit("/", 1)[-1] for name in (base, candidate)]
    return (short[0], short[1]) if all(short) and short[0] != short[1] else ("base", "candidate")


def _keep(run: ImportedRun, task: ImportedTask, name: str, store: Store) -> Step:
    """The step of a task's imported scores, its result written where it is not there yet."""
    rows = list(_rows(task))
    hashed = digest([asdict(row) for row in rows])
    imported = Imported(tool=run.tool, task=task.name, metric=task.metric, rows=hashed, model=run.model)
    labels = Labels(candidate=name, task=task.name, engine=ENGINE, format=run.model)
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


def _manifest(
    runs: Sequence[ImportedRun], names: tuple[str, str], steps: Sequence[Step], margin: float, command: str
) -> StudyManifest:
    notes = [f"scores imported from {run.tool}: {run.path}" for run in runs]
    notes += [f"not in what {runs[0].tool} wrote, and so not compared: {what}" for what in runs[0].unknown]
    return StudyManifest(
        schema_version=SCHEMA,
        study=NAME,
        specification="",
        command=command or shlex.join(["whichbits", "evaluate", *(word for run in runs for word in ("--from", str(run.path)))]),
        model=runs[0].model,
        notes=tuple(notes),
        base=names[0],
        base_bytes=None,
        formats={name: run.model for name, run in zip(names, runs, strict=True)},
        margin=margin,
        seed=0,
        hardware="not known",
        engines=(),
        workloads={},
        deployments={},
        prices="default",
        steps=entries(steps),
        version=metadata.version("whichbits"),
    )
