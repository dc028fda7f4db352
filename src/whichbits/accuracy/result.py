"""What an evaluation returns: a summary, and one row an item."""

from __future__ import annotations

import hashlib
import math
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from whichbits.accuracy.informative import uninformative
from whichbits.accuracy.task import Task


@dataclass(frozen=True)
class Item:
    """One scored item; two runs are paired on `item`, and must agree on `prompt_hash` and `target_hash`."""

    item: str
    prompt_hash: str
    target_hash: str
    cluster: str
    """Items of one cluster are not independent of each other (questions about one passage)."""
    score: float
    """From 0 (wrong) to 1 (right)."""
    prediction: str
    target: str
    chance: float = 0.0
    """Expected score of guessing on this item."""


@dataclass(frozen=True)
class Work:
    """Tokens that an evaluation sent and received."""

    prompt_tokens: int = 0
    generated_tokens: int = 0


@dataclass(frozen=True)
class TaskResult:
    """An evaluated task: `summary` for result.json, `items` for items.parquet."""

    summary: dict[str, Any]
    items: tuple[Item, ...]

    def rows(self) -> list[dict[str, Any]]:
        """Rows of items.parquet: item, prompt_hash, target_hash, cluster, score, prediction, target."""
        names = ("item", "prompt_hash", "target_hash", "cluster", "score", "prediction", "target")
        return [{name: getattr(item, name) for name in names} for item in self.items]


def text_hash(text: str) -> str:
    """SHA-256 of a text, in hexadecimal; the same function as lm-evaluation-harness's `hash_string`."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def distinct(items: Iterable[Item]) -> tuple[Item, ...]:
    """Items with a number appended to those whose name occurred before (a data set that holds a document twice)."""
    seen: Counter[str] = Counter()
    named = []
    for item in items:
        seen[item.item] += 1
        named.append(item if seen[item.item] == 1 else replace(item, item=f"{item.item}#{seen[item.item]}"))
    return tuple(named)


def summarize(task: Task, items: Sequence[Item], work: Work, *, available: int, **more: Any) -> TaskResult:
    """Mean score, its standard error (sd / √n, n − 1 in the variance), chance, tokens an item.

    `available` is how many items the task has without a limit. `uninformative` is why the task says nothing where this model is
    the base, or None.
    """
    items = distinct(items)
    n = len(items)
    scores = [item.score for item in items]
    outside = [item for item in items if not 0 <= item.score <= 1]
    if outside:
        raise ValueError(f"{task.name}: metric {task.metric} gives {outside[0].score} on item {outside[0].item}, not 0 to 1")
    score = statistics.fmean(scores)
    chance = task.chance if task.chance is not None else statistics.fmean(item.chance for item in items)
    summary = {
        "task": task.name,
        "version": task.version,
        "kind": task.kind,
        "metric": task.metric,
        "n": n,
        "available": available,
        "score": score,
        "stderr": statistics.stdev(scores) / math.sqrt(n) if n > 1 else None,
        "chance": chance,
        "uninformative": uninformative(score, chance),
        "prompt_tokens": work.prompt_tokens / n,
        "generated_tokens": work.generated_tokens / n,
        **more,
    }
    return TaskResult(summary=summary, items=items)
