"""A task's items in a random order, so that its first ones are a sample of all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random
from typing import Any, TypeVar

from whichbits.accuracy.harness import HarnessDocument, HarnessTask
from whichbits.accuracy.task import Task
from whichbits.schema.thinking import without_mode

ThingT = TypeVar("ThingT")


def in_order(things: Sequence[ThingT], task: Task, cluster: Callable[[ThingT], str | None] = lambda _: None) -> list[ThingT]:
    """The items of a task in the random order that the task states, those of one cluster together; as they are without one.

    The order depends on the task's name, the seed that is its order, and how many items there are. It is the same in all modes
    of thinking: what one question is answered in each belongs together, and comes at the same look.
    """
    if task.order is None:
        return list(things)
    clusters: dict[str | int, list[ThingT]] = {}
    for number, thing in enumerate(things):
        clusters.setdefault(cluster(thing) or number, []).append(thing)
    together = list(clusters.values())
    name = task.name if task.mode is None else without_mode(task.name, task.mode.name)
    Random(f"order/{task.order}/{name}/{len(things)}").shuffle(together)
    return [thing for one in together for thing in one]


def order_documents(harness_tasks: Mapping[str, HarnessTask], task: Task, limit: int | None) -> dict[str, HarnessTask]:
    """lm-evaluation-harness's task objects, each of which goes through its documents among the first `limit` of all.

    A document's number is its place in the order of all members' documents. Members with none are left out.
    """
    documents = [(name, document) for name, made in harness_tasks.items() for document in made.eval_docs]
    chosen: dict[str, list[tuple[int, Any]]] = {}
    for number, (name, document) in enumerate(in_order(documents, task, _cluster)[:limit]):
        chosen.setdefault(name, []).append((number, document))
    for name, own in chosen.items():
        harness_tasks[name].doc_iterator = _iterator(own)
    return {name: made for name, made in harness_tasks.items() if name in chosen}


def taken_documents(harness_tasks: Mapping[str, HarnessTask], limit: int | None) -> list[HarnessDocument]:
    """Every document that lm-evaluation-harness takes, in its order."""
    return [
        HarnessDocument(made.get_config("task"), number)
        for made in harness_tasks.values()
        for number, _ in made.doc_iterator(rank=0, limit=limit, world_size=1)
    ]


def _cluster(named: tuple[str, Any]) -> str | None:
    name, document = named
    cluster = document.get("cluster") if isinstance(document, dict) else None
    return None if cluster is None else f"{name}/{cluster}"


def _iterator(documents: Sequence[tuple[int, Any]]) -> Callable[..., Iterator[tuple[int, Any]]]:
    def iterate(**_: Any) -> Iterator[tuple[int, Any]]:
        return iter(documents)

    return iterate
