"""What kinds of shards have in common: the steps that a step is split into, and what is said of the merged result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from whichbits.schema.inputs import Inputs
from whichbits.schema.shard import PartOf, Shard
from whichbits.schema.step import Step
from whichbits.schema.summary import Summary
from whichbits.studies.steps.step import Job, Kind, Result


def shards_of(step: Step, kind: Kind, count: int, inputs: Callable[[PartOf], Inputs]) -> tuple[Step, ...]:
    """So many shards of a step, each with its own `inputs`."""
    shards = [Shard(index=index, count=count) for index in range(count)]
    return tuple(
        Step(
            kind.name,
            kind.version,
            inputs(PartOf(step=step.key, items=step.items, shard=shard)),
            step.reads,
            step.labels.model_copy(update={"shard": str(shard)}),
            step.local,
        )
        for shard in shards
    )


def merged_result(job: Job, summary: Summary) -> Result:
    """What the shards of a job come to; its time is that of all of them together."""
    first, *others = ran = [record.provenance for record in job.shards]
    more: dict[str, Any] = {"shards": len(ran)}
    if any(one.server != first.server for one in others):
        more["servers"] = {f"shard {number}": one.server for number, one in enumerate(ran, 1)}
    if any(one.token_counts != first.token_counts for one in others):
        more["token_counts"] = "tokenizer"
    return Result(summary, first.model_copy(update=more), shards_s=sum(one.seconds or 0.0 for one in ran))
