"""How many more items would settle what is not resolved, and of which task."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from whichbits.verdict.findings import ScoredTask
from whichbits.verdict.resampling import item_variance, suite_ratio
from whichbits.verdict.statistics import POWER, resolvable


@dataclass(frozen=True)
class Extension:
    """More items that would resolve a suite: `items` of one task, or `items` in all, spread in proportion over `tasks`.

    `ended` are tasks that run out of items before, with how many they have: the last of those are among `items`.
    """

    tasks: tuple[str, ...]
    items: int
    ended: tuple[tuple[str, int], ...] = ()


def recovery_error(tasks: Sequence[ScoredTask], items: Sequence[float] | None = None) -> float:
    """Standard error of the suite's recovery, in points, with the items there are or with other numbers of them.

    By the delta method: Var(A/B) ≈ Σ_tasks Var(score − (A/B)·base) / items / B², B the base's sum of scores above chance.
    """
    pairs = [scored.pair for scored in tasks]
    counts = [pair.items for pair in pairs] if items is None else items
    ratio, total = suite_ratio(pairs), sum(pair.base_above_chance for pair in pairs)
    variance = sum(item_variance(pair, ratio) / count for pair, count in zip(pairs, counts, strict=True))
    return 100 * math.sqrt(variance) / total


def extension(tasks: Sequence[ScoredTask], bound: float, *, level: float = 0.95) -> Extension | None:
    """Fewest further items with which the suite would be told from `bound` (%) with power 80 %, if its recovery stays.

    Tries each task that can be extended, alone; where none suffices, all of them in proportion, those with few items to their
    last; None where that cannot do it either.
    """
    pairs = [scored.pair for scored in tasks]
    ratio, total = suite_ratio(pairs), sum(pair.base_above_chance for pair in pairs)
    distance = abs(100 * ratio - bound)
    if distance == 0:
        return None
    largest_variance = (distance / resolvable(1.0, level) * total / 100) ** 2
    variance = [item_variance(pair, ratio) / pair.items for pair in pairs]

    alone: list[Extension] = []
    for scored, own in zip(tasks, variance, strict=True):
        room = largest_variance - (sum(variance) - own)
        if room > 0 and own > room:
            more = math.ceil(scored.pair.items * (own / room - 1))
            if _fits(scored, scored.pair.items + more):
                alone.append(Extension((scored.task,), more))
    if alone:
        return min(alone, key=lambda candidate: candidate.items)

    return _together(tasks, variance, largest_variance)


def _together(tasks: Sequence[ScoredTask], variance: Sequence[float], largest: float) -> Extension | None:
    """All tasks extended in proportion, each at most to its end, until their `variance` sums to `largest`; None where never."""
    items = [scored.pair.items for scored in tasks]
    most = [math.inf if scored.available is None else scored.available for scored in tasks]
    growing, at_end = dict(enumerate(variance)), dict[int, float]()
    while growing:
        room = largest - sum(at_end.values())
        factor = sum(growing.values()) / room if room > 0 else math.inf
        out = [number for number in growing if factor * items[number] > most[number]]
        if not out:
            break
        at_end |= {number: growing.pop(number) * items[number] / most[number] for number in out}
    if not growing or not 1 < factor < math.inf:
        return None
    more = [math.ceil((factor - 1) * items[number]) for number in growing] + [int(most[n]) - items[n] for n in at_end]
    ended = tuple((tasks[number].task, int(most[number])) for number in at_end if most[number] > items[number])
    return Extension(tuple(tasks[number].task for number in growing), sum(more), ended)


def _fits(scored: ScoredTask, items: float) -> bool:
    return scored.available is None or items <= scored.available


def would_resolve(tasks: Sequence[ScoredTask], bound: float, *, level: float = 0.95) -> str:
    """What would settle the suite against `bound` (%), as a sentence for the reader."""
    value = 100 * suite_ratio([scored.pair for scored in tasks])
    found = extension(tasks, bound, level=level)
    if found is not None and len(found.tasks) == 1 and not found.ended:
        return f"about {_round_up(found.items):,} more items of {found.tasks[0]} {_condition(value)}"
    if found is not None:
        ends = "".join(f", with all {count:,} items of {task}" for task, count in found.ended)
        return (
            f"about {_round_up(found.items):,} more items, in proportion of {', '.join(found.tasks)}{ends} {_condition(value)}"
        )
    limits = [scored.available for scored in tasks]
    most = [math.inf if limit is None else limit for limit in limits]
    now = f"{resolvable(recovery_error(tasks, most), level):.2g} points, and the margin is {abs(value - bound):.2g} away"
    names = [f"{scored.task}'s {limit:,} items" for scored, limit in zip(tasks, limits, strict=True) if limit is not None]
    if not names:
        return f"no number of items: the recovery is {abs(value - bound):.2g} points from the margin"
    rest = ", however many there are of the others" if None in limits else ""
    return f"{' and '.join(names)} cannot{rest}: they resolve {now}"


def _condition(value: float) -> str:
    return f"({100 * POWER:.0f} % power, if the recovery stays at {value:.1f} %)"


def _round_up(count: int) -> int:
    """`count` rounded up to two significant digits."""
    unit = int(10 ** max(0, len(str(count)) - 2))
    return math.ceil(count / unit) * unit
