"""The shards of a task's items, put together again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add

from whichbits.accuracy.result import TaskResult
from whichbits.core.errors import UserError


@dataclass(frozen=True)
class TaskShard:
    """A shard's result, and which of all items are its."""

    result: TaskResult
    first: int
    total: int

    @property
    def stop(self) -> int:
        """Place after its last item."""
        return self.first + len(self.result.items)


def merged(shards: Sequence[TaskShard]) -> TaskResult:
    """The result of all items, from those of all shards in their order: what one run of all of them gives.

    Raises UserError where they are not the parts of one whole, as those of a data set that has changed meanwhile.
    """
    first, *others = shards
    edges = [0, *(shard.stop for shard in shards)]
    same = all(_whole(shard) == _whole(first) for shard in others)
    if not same or edges[-1] != first.total or any(shard.first != edge for shard, edge in zip(shards, edges, strict=False)):
        raise UserError(
            f"task: {first.result.task.name} was not the same in all shards: its data have changed between them",
            remedy="give all machines the same data, delete steps/evaluate_shard in the store, and run the study again",
        )
    items = tuple(item for shard in shards for item in shard.result.items)
    return replace(first.result, items=items, work=reduce(add, (shard.result.work for shard in shards)))


def _whole(shard: TaskShard) -> tuple[int, TaskResult]:
    """What all shards of a task say alike."""
    return shard.total, replace(shard.result, items=(), work=type(shard.result.work)(), sandbox=None)
