"""Step `evaluate_shard`: score a checkpoint on a part of a task's items; and the merge of all parts to the evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from whichbits.schema.engine import EngineAtAddress
from whichbits.schema.evaluate import EvaluateInputs
from whichbits.schema.evaluate_shard import EvaluateShardInputs, EvaluateShardSummary
from whichbits.schema.step import Record, Step
from whichbits.studies.steps.shared.items import read_items, write_items
from whichbits.studies.steps.shared.scored import PRELOAD, scored, summary_of, task_of
from whichbits.studies.steps.shared.shards import merged_result, shards_of, unplanned
from whichbits.studies.steps.step import Job, Kind, Result, Shards, StepContext

if TYPE_CHECKING:
    from whichbits.accuracy.shards import TaskShard


def split(step: Step, count: int) -> tuple[Step, ...]:
    """The shards of an evaluation.

    None of a task that asks all its items anew, at a server of the user's, which is one however many ask it, and of the base's
    further runs, which differ in how many requests are in flight.
    """
    from whichbits.accuracy.kinds.registry import task_kind

    inputs = step.inputs_as(EvaluateInputs)
    if not task_kind(task_of(step).kind).ordered or isinstance(inputs.engine, EngineAtAddress) or inputs.repeat:
        return ()
    count = count if step.items is None or step.items == "all" else min(count, step.items)
    return shards_of(step, EVALUATE_SHARD, count, EvaluateShardInputs)


def run(jobs: Sequence[Job], context: StepContext) -> Iterator[tuple[Job, Result]]:
    """Score a checkpoint on a part of a task's items."""
    for job in jobs:
        part = job.step.inputs_as(EvaluateShardInputs).part
        found = scored(job, context, part.items, part.shard)
        result, rows = found.result, found.result.taken
        assert rows is not None, f"a task of kind {result.task.kind} is taken in parts"
        write_items(job.directory, result.items)
        summary = EvaluateShardSummary(
            first=rows.own.start,
            total=len(rows.known),
            prompt_tokens=result.work.prompt_tokens,
            generated_tokens=result.work.generated_tokens,
            seconds=result.work.seconds,
            kept=result.kept,
            available=result.available,
            most=result.most,
            source_version=result.source_version,
            lm_eval=result.lm_eval,
            sandbox=result.sandbox,
        )
        yield job, Result(summary, found.provenance, found.waited_s)


def merge(jobs: Sequence[Job], context: StepContext) -> Iterator[tuple[Job, Result]]:
    """Make an evaluation of its shards."""
    from whichbits.accuracy.shards import merged

    for job in jobs:
        result = merged([_shard(job, record) for record in job.shards])
        write_items(job.directory, result.rows())
        yield job, merged_result(job, summary_of(job.step, result))


def _shard(job: Job, record: Record) -> TaskShard:
    from whichbits.accuracy.item import Item
    from whichbits.accuracy.result import TaskResult, Work
    from whichbits.accuracy.shards import TaskShard

    summary = record.found(EvaluateShardSummary)
    result = TaskResult(
        task=task_of(job.step),
        items=tuple(read_items(record.directory, Item)),
        work=Work(summary.prompt_tokens, summary.generated_tokens, seconds=summary.seconds),
        available=summary.available,
        most=summary.most,
        source_version=summary.source_version,
        lm_eval=summary.lm_eval,
        sandbox=summary.sandbox,
    )
    return TaskShard(result, summary.first, summary.total)


EVALUATE_SHARD = Kind(
    "evaluate_shard",
    version=2,
    plan=unplanned,
    run=run,
    preload=PRELOAD,
    shards=Shards("evaluate", split, merge),
)
