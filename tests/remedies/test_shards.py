"""Remedy of shards whose data differ."""

from __future__ import annotations

from typing import Any

from whichbits.accuracy.item import Item
from whichbits.accuracy.registry import task
from whichbits.accuracy.result import TaskResult, Work
from whichbits.accuracy.shards import TaskShard, merged


def test_data_that_have_changed_between_shards(follow: Any):
    def shard(name: str, first: int, total: int) -> TaskShard:
        items = (Item(name, "p", "t", name, 1.0, "x", "x"),)
        return TaskShard(TaskResult(task("recall"), items, Work(), available=total, most=None), first, total)

    follow(
        "was not the same in all shards",
        mistake=lambda: merged([shard("a", 0, 2), shard("b", 1, 3)]),
        remedy=lambda: merged([shard("a", 0, 2), shard("b", 1, 2)]),
    )
