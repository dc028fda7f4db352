"""Step `judge`: have a judge compare a candidate's answers to a task with the base's, both as their evaluations hold them."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from whichbits.schema.evaluate import SampledItem
from whichbits.schema.judge import JudgeInputs, JudgeLocal, JudgeSummary
from whichbits.schema.step import Step
from whichbits.studies.steps.judges import judge_for
from whichbits.studies.steps.planned import Planned, client, keys
from whichbits.studies.steps.shared.items import read_items, write_items
from whichbits.studies.steps.shared.judge import judge_of
from whichbits.studies.steps.shared.provenance import provenance
from whichbits.studies.steps.shared.scored import task_of
from whichbits.studies.steps.step import Job, Kind, Result, StepContext

if TYPE_CHECKING:
    from whichbits.accuracy.judging import JudgingWork
    from whichbits.accuracy.task import Task
    from whichbits.studies.steps.study import Study


def plan(study: Study, before: Sequence[Planned]) -> Iterator[Planned]:
    """A step for each candidate and task that is judged against the base; the base has run in the same engine."""
    wanted = set()
    for task, choice in study.tasks:
        judge = judge_for(study, choice)
        if task.judging is not None and judge is not None and judge.against_base:
            wanted.add(task.name)
    evaluated = [one.step for one in before if one.step.kind == "evaluate" and one.step.labels.task in wanted]
    first = {(one.labels.candidate, one.labels.task, one.labels.engine): one for one in evaluated if not one.labels.repeat}
    for (candidate, name, engine), step in first.items():
        if candidate != study.base:
            yield _against(study, first[study.base, name, engine], step)


def _against(study: Study, base: Step, candidate: Step) -> Planned:
    task, reads = task_of(candidate), {"base": base, "candidate": candidate}
    inputs: JudgeInputs[Task] = JudgeInputs(task=task, seed=study.specification.seed)
    local: JudgeLocal[Task] = JudgeLocal(
        task=task,
        data_dir=study.data_dir,
        tokenizer=study.model.path,
        trust_remote_code=study.specification.trust_remote_code,
    )
    step = Step(JUDGE.name, JUDGE.version, inputs, keys(reads), candidate.labels, local, candidate.items)
    return Planned(step, client(), reads)


def run(jobs: Sequence[Job], context: StepContext) -> Iterator[tuple[Job, Result]]:
    """Have a judge compare a candidate's answers with the base's."""
    from whichbits.accuracy.compare import compare

    for job in jobs:
        inputs, local = job.step.inputs_as(JudgeInputs), job.step.local_as(JudgeLocal)
        base, candidate = (read_items(job.reads[role], SampledItem) for role in ("base", "candidate"))
        with ExitStack() as stack:
            judge = judge_of(local.task, job.kept, context, stack)
            assert judge is not None, "a task that is planned here has a judge"
            found = compare(
                local.task,
                candidate,
                base,
                local.tokenizer,
                judge=judge,
                seed=inputs.seed,
                data_dir=local.data_dir,
                trust_remote_code=local.trust_remote_code,
            )
        write_items(job.directory, found.items)
        score = statistics.fmean(one.score for one in found.items)
        summary = JudgeSummary(task=local.task.name, n=len(found.items), score=score, judged=found.judged)
        yield job, Result(summary, provenance(job, seed=inputs.seed))


def judging_work(step: Step) -> JudgingWork | None:
    """What the comparison asks of the judge, at most: answers that turn out the same are not judged."""
    from whichbits.accuracy.kind import JudgedKind
    from whichbits.accuracy.kinds.registry import task_kind

    local: JudgeLocal[Task] = step.local_as(JudgeLocal)
    kind = task_kind(local.task.kind)
    assert isinstance(kind, JudgedKind), "planned of judged tasks alone"
    limit = None if step.items == "all" else step.items
    return kind.comparison_work(local.task, limit=limit, data_dir=local.data_dir)


JUDGE = Kind(
    "judge",
    version=1,
    plan=plan,
    run=run,
    judging=judging_work,
    preload=("transformers.models.auto.tokenization_auto",),
)
