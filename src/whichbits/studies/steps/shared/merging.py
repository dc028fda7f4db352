"""The result of a step that ran in shards: where they ran, and how long."""

from __future__ import annotations

from typing import Any

from whichbits.schema.summary import Summary
from whichbits.studies.steps.step import Job, Result


def merged_result(job: Job, summary: Summary) -> Result:
    """What the shards of a job come to; its time is that of all of them together."""
    first, *others = ran = [record.provenance for record in job.shards]
    more: dict[str, Any] = {"shards": len(ran)}
    if any(one.server != first.server for one in others):
        more["servers"] = {f"shard {number}": one.server for number, one in enumerate(ran, 1)}
    if any(one.token_counts != first.token_counts for one in others):
        more["token_counts"] = "tokenizer"
    return Result(summary, first.model_copy(update=more), shards_s=sum(one.seconds or 0.0 for one in ran))
