"""What kinds of shards have in common: the steps that a step is split into, and what is said of the merged result."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from whichbits.schema.inputs import Inputs
from whichbits.schema.provenance import Provenance
from whichbits.schema.shard import PartOf, Shard
from whichbits.schema.step import Step
from whichbits.schema.summary import Summary
from whichbits.studies.steps.planned import Planned
from whichbits.studies.steps.step import Job, Kind, Result

if TYPE_CHECKING:
    from whichbits.schema.engine import EngineIdentity
    from whichbits.studies.steps.study import Study


def unplanned(study: Study, before: Sequence[Planned]) -> Iterator[Planned]:
    """The plan of a kind of shards: steps are split once it is known how much can run at once."""
    return iter(())


def shards_of(step: Step, kind: Kind, count: int, inputs: Callable[..., Inputs]) -> tuple[Step, ...]:
    """So many shards of a step; `inputs` is the class of theirs, which are the step's and the `part`."""
    same = {name: getattr(step.inputs, name) for name in type(step.inputs).model_fields}
    shards = [Shard(index=index, count=count) for index in range(count)]
    return tuple(
        Step(
            kind.name,
            kind.version,
            inputs(**same, part=PartOf(step=step.key, items=step.items, shard=shard)),
            step.reads,
            step.labels.model_copy(update={"shard": str(shard)}),
            step.local,
        )
        for shard in shards
    )


def merged_result(job: Job, summary: Summary) -> Result:
    """What the shards of a job come to; its time is that of all of them together."""
    first, *others = ran = [record.provenance for record in job.shards]
    one_server = all(one.server == first.server for one in others)
    counted_alike = all(one.token_counts == first.token_counts for one in others)
    together = first.model_copy(
        update={
            "shards": len(ran),
            "servers": first.servers if one_server else _servers(ran),
            "token_counts": first.token_counts if counted_alike else "tokenizer",
        }
    )
    return Result(summary, together, shards_s=sum(one.seconds or 0.0 for one in ran))


def _servers(ran: Sequence[Provenance]) -> dict[str, EngineIdentity]:
    """Who served each shard, from 1."""
    return {f"shard {number}": one.server for number, one in enumerate(ran, 1) if one.server is not None}
