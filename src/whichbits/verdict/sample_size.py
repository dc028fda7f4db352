"""How many more items, or clusters of them, would decide what is inconclusive, and of which task."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from whichbits.verdict.accuracy import task_size
from whichbits.verdict.findings import ScoredTask
from whichbits.verdict.paired import suite_ratio
from whichbits.verdict.reasons import TaskSize, Undecidable
from whichbits.verdict.rule_of_three import gains, largest_unseen, losses
from whichbits.verdict.score_test import ScoreTest, recovery_stratum
from whichbits.verdict.statistics import FloatArray, detectable, tested_level
from whichbits.verdict.verdict import Extension

MOST_ITEMS = 10**9
"""Beyond this many items, no number of them is said to suffice."""


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


def undecidable(tasks: Sequence[ScoredTask], bound: float, *, level: float = 0.95) -> Undecidable:
    """Why no number of items that there are tells the suite from `bound` (%); of a suite without an `extension`."""
    plan = Plan(tasks, bound, level)
    limited = [scored for scored in tasks if scored.available is not None]
    if plan.distance == 0 or not limited:
        return Undecidable(code="no_number_suffices", distance=plan.distance)
    detected = detectable(plan.error(_most(tasks)), tested_level(level))
    clustered = tuple(task_size(scored) for scored in tasks if scored.pair.clustered)
    code: Literal["too_few_clusters", "too_few_items", "difference_too_small"] = "difference_too_small"
    if plan.distance >= detected:
        code = "too_few_clusters" if clustered else "too_few_items"
    return Undecidable(
        code=code,
        distance=plan.distance,
        detectable=detected,
        tasks=tuple(TaskSize(task=s.task, items=max(s.available or 0, s.pair.items)) for s in limited),
        others_unlimited=len(limited) < len(tasks),
        clustered=clustered,
    )
