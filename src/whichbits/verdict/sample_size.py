"""How many more items, or clusters of them, would decide what is inconclusive, and of which task."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from whichbits.verdict.findings import ScoredTask
from whichbits.verdict.model import Extension
from whichbits.verdict.paired import suite_ratio
from whichbits.verdict.score_test import ScoreTest, recovery_stratum
from whichbits.verdict.statistics import POWER, FloatArray, detectable, tested_level
from whichbits.verdict.unseen import gains, largest_unseen, losses
from whichbits.verdict.words import listing

MOST_ITEMS = 10**9
"""Beyond this many items, no number of them is said to suffice."""
NAMED = 3
"""So many tasks are listed by name; of more, the sum is given."""


class Plan:
    """A suite of tasks whose numbers of items can be changed, against the bound it is to be told from."""

    def __init__(self, tasks: Sequence[ScoredTask], bound: float, level: float) -> None:
        pairs = [scored.pair for scored in tasks]
        strata = [recovery_stratum(pair) for pair in pairs]
        ratio = suite_ratio(pairs)
        self.items = np.array([pair.items for pair in pairs], dtype=np.float64)
        self.distance = abs(100 * ratio - bound)
        self._total = sum(pair.base_above_chance for pair in pairs)
        # One lost and one gained unit more, as no change seen does not promise that there is none (Bonett and Price, 2012).
        unseen = np.array([stratum.unseen for stratum in strata])
        self._variance = ScoreTest(strata).variances(ratio) + 2 * unseen**2
        self._units = losses(pairs) if 100 * ratio >= bound else gains(pairs)
        self._level = level
        self._inflation = 1.0
        if self.suffices(self.items):  # not so the test itself, which knows of few units and of skewness
            statistic = abs(ScoreTest(strata).test(bound / 100).statistic)
            self._inflation = self.distance / statistic / self.error(self.items)

    def error(self, items: FloatArray) -> float:
        """Standard error of the suite's recovery, in points, with other numbers of items of each task, (tasks,)."""
        return self._inflation * 100 * math.sqrt(float(np.sum(self._variance * self.items / items))) / self._total

    def unseen(self, items: FloatArray) -> float:
        """What clusters that are not in such a sample could change, in points."""
        factors = items / self.items
        units = [replace(unit, number=unit.number * factor) for unit, factor in zip(self._units, factors, strict=True)]
        return largest_unseen(units, (1 - self._level) / 2)

    def suffices(self, items: FloatArray) -> bool:
        """Whether so many items tell the suite from the bound with power 80 %, if its recovery stays as it is."""
        error = self.error(items)
        if self.distance < detectable(error, tested_level(self._level)):
            return False
        return self.unseen(items) + detectable(error, 0.0) <= self.distance


def extension(tasks: Sequence[ScoredTask], bound: float, *, level: float = 0.95) -> Extension | None:
    """Fewest further items with which the suite would be told from `bound` (%) with power 80 %, if its recovery stays.

    Tries each task that can be extended, alone; where none suffices, all of them in proportion, those with few items to their
    last; None where that cannot do it either. Clusters are taken to stay as large as they are.
    """
    plan = Plan(tasks, bound, level)
    if plan.distance == 0:
        return None
    most = _most(tasks)

    def alone(number: int, count: float) -> FloatArray:
        items = plan.items.copy()
        items[number] = count
        return items

    found: list[Extension] = []
    for number, scored in enumerate(tasks):
        own = scored.pair.items
        count = _fewest(lambda count, n=number: plan.suffices(alone(n, count)), own, int(most[number]))  # type: ignore[misc]
        if count is not None:
            found.append(Extension(tasks=(scored.task,), items=count - own, clusters=_clusters([scored], [count - own])))
    if found:
        return min(found, key=lambda entry: entry.items)

    def together(thousandths: int) -> FloatArray:
        items: FloatArray = np.minimum(np.ceil(plan.items * thousandths / 1000), most)
        return items

    factor = _fewest(lambda thousandths: plan.suffices(together(thousandths)), 1000, int(1000 * np.max(most / plan.items)))
    if factor is None:
        return None
    more = together(factor) - plan.items
    ended = tuple((t.task, int(most[n])) for n, t in enumerate(tasks) if more[n] and plan.items[n] * factor / 1000 > most[n])
    growing = tuple(t.task for n, t in enumerate(tasks) if more[n] and t.task not in dict(ended))
    return Extension(tasks=growing, items=int(more.sum()), clusters=_clusters(tasks, more), ended=ended)


def _most(tasks: Sequence[ScoredTask]) -> FloatArray:
    """Items that each task can have, (tasks,)."""
    return np.array([MOST_ITEMS if t.available is None else max(t.available, t.pair.items) for t in tasks], dtype=np.float64)


def _fewest(suffices: Callable[[int], bool], now: int, most: int) -> int | None:
    """Smallest number above `now`, at most `most`, that suffices; None where `most` does not."""
    if most <= now or not suffices(most):
        return None
    low: int = now
    high: int = most
    while high - low > 1:
        middle = math.isqrt(low * high) if high > 4 * low else (low + high) // 2
        low, high = (low, middle) if suffices(middle) else (middle, high)
    return high


def _clusters(tasks: Sequence[ScoredTask], more: Sequence[float] | FloatArray) -> int | None:
    """Clusters among further items, where all of them come in clusters."""
    counts = [(t.pair, extra) for t, extra in zip(tasks, more, strict=True) if extra]
    if not all(pair.clustered for pair, _ in counts):
        return None
    return sum(math.ceil(float(extra) * len(pair.cluster_sizes) / pair.items) for pair, extra in counts)


def needed_to_decide(
    tasks: Sequence[ScoredTask], bound: float, *, level: float = 0.95
) -> tuple[Extension | None, str | None, str | None]:
    """What would settle the suite against `bound` (%), as data and in words; where nothing can, why, in words."""
    found = extension(tasks, bound, level=level)
    if found is not None:
        return found, _in_words(found, 100 * suite_ratio([scored.pair for scored in tasks])), None
    return None, None, _cannot(tasks, bound, level)


def _in_words(found: Extension, value: float) -> str:
    count = f"about {_round_up(found.items):,} more items"
    if found.clusters is not None:
        count = f"about {_round_up(found.clusters):,} more clusters (of {_round_up(found.items):,} items)"
    condition = f"({100 * POWER:.0f} % power, if the recovery stays at {value:.1f} %)"
    if len(found.tasks) == 1 and not found.ended:
        return f"{count} of {found.tasks[0]} {condition}"
    ends = [f"all {most:,} items of {task}" for task, most in found.ended]
    if not found.tasks:
        return f"{count}: {listing(ends)} {condition}"
    return f"{count}, in proportion of {', '.join(found.tasks)}{f', with {listing(ends)}' if ends else ''} {condition}"


def _cannot(tasks: Sequence[ScoredTask], bound: float, level: float) -> str:
    """Why no number of items that there are settles it."""
    plan = Plan(tasks, bound, level)
    away = f"{plan.distance:.2g} points"
    limited = [scored for scored in tasks if scored.available is not None]
    if plan.distance == 0 or not limited:
        return f"no number of items can tell a recovery from a bound that is {away} away"
    counts = [max(scored.available or 0, scored.pair.items) for scored in limited]
    names = listing([f"{scored.task}'s {count:,} items" for scored, count in zip(limited, counts, strict=True)])
    if len(limited) > NAMED:
        names = f"the {sum(counts):,} items of {len(limited)} tasks"
    rest = ", however many there are of the others" if len(limited) < len(tasks) else ""
    most = _most(tasks)
    error = detectable(plan.error(most), tested_level(level))
    if plan.distance >= error:
        clustered = [f"{len(s.pair.cluster_sizes):,} of {s.task}" for s in tasks if s.pair.clustered]
        return f"{names} cannot decide it{rest}, for want of {f'clusters ({listing(clustered)})' if clustered else 'items'}"
    return f"{names} cannot decide it{rest}: they detect {error:.2g} points, and the bound is {away} away"


def _round_up(count: int) -> int:
    """`count` rounded up to two significant digits."""
    unit = int(10 ** max(0, len(str(count)) - 2))
    return math.ceil(count / unit) * unit
