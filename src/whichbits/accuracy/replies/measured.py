"""The replies to a task, measured item by item."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from statistics import fmean

from whichbits.accuracy.item import Item
from whichbits.accuracy.replies.measure import Reply, ReplyMeasure
from whichbits.accuracy.replies.registry import reply_measures
from whichbits.schema.metrics import Measured
from whichbits.schema.thinking import Replies


def measured(items: Sequence[Item], replies: Iterable[tuple[str, Reply]]) -> tuple[Item, ...]:
    """The items with what their replies are like, but for those that have it already.

    `replies` are by hash of the prompt: those of the items' first samples in the order of the items, then of the second ones,
    and so on.
    """
    measures = reply_measures()
    by_prompt: dict[str, list[Reply]] = defaultdict(list)
    for prompt, reply in replies:
        by_prompt[prompt].append(reply)
    alike = Counter(item.prompt_hash for item in items if not item.replies)
    seen: Counter[str] = Counter()
    found = []
    for item in items:
        if not item.replies:
            own = by_prompt[item.prompt_hash][seen[item.prompt_hash] :: alike[item.prompt_hash]]
            seen[item.prompt_hash] += 1
            item = replace(item, replies={each.described.key: _mean(each, own) for each in measures})
        found.append(item)
    return tuple(found)


def _mean(measure: ReplyMeasure, replies: Sequence[Reply]) -> float | None:
    """Mean over an item's replies that have a value; None where none has."""
    return _mean_of(measure.of(reply) for reply in replies)


def _mean_of(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def summary(items: Sequence[Item], *, samples: int, seconds: float) -> Replies:
    """What the replies to a task are like, all together."""
    means = [
        Measured(measure=each.described, value=_mean_of(item.replies.get(each.described.key) for item in items))
        for each in reply_measures()
    ]
    return Replies(measures=tuple(means), count=samples * len(items), seconds=seconds)
