"""How many items of each task each look has, and what share of the information that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from whichbits.schema.early_stopping import Look
from whichbits.verdict.early_stopping.boundaries import LEAST_STEP

LEAST_INFORMATION = 0.1
"""Before it no boundary is within reach: a look there would cost a start of every task and decide nothing."""


def information(items: Mapping[str, int], most: Mapping[str, int], variances: Mapping[str, float] | None = None) -> float:
    """Share of the information on the suite's mean that so many items of each task hold, of that in all of them.

    The variance of a mean of task means is Σ (variance of an item)/items over tasks, of an item's change from the base to the
    candidate. Without `variances` they are taken as equal. So equal items of every task tell more than a like share of each.
    """
    each = variances or dict.fromkeys(most, 1.0)
    return sum(each[task] / size for task, size in most.items()) / sum(each[task] / count for task, count in items.items())


def information_at(looks: Sequence[Look], most: Mapping[str, int], variances: Mapping[str, float]) -> tuple[float, ...]:
    """Share of the information of the last look that each has, for a candidate whose tasks vary so."""
    all_items = equal_items(looks[-1].count, most)
    shares = [information(equal_items(look.count, most), all_items, variances) for look in looks]
    # A look that adds next to nothing for this candidate adds LEAST_STEP.
    least = 1.01 * LEAST_STEP
    return tuple((1 - len(looks) * least) * share + least * number for number, share in enumerate(shares, start=1))


def equal_items(count: int, most: Mapping[str, int]) -> dict[str, int]:
    """So many items of every task, all of those that have fewer."""
    return {task: min(count, size) for task, size in most.items()}


def looks(most: Mapping[str, int], number: int, *, budget: int | None = None) -> tuple[Look, ...]:
    """At most `number` looks at the tasks with these items: equal items of every task, each time a like share of all more.

    With a `budget`, the last look has no more than so many items of all tasks together. Looks that no boundary could stop
    at, or that add next to nothing, are left out; the last has all information.
    """
    largest = max(most.values())
    if budget is not None:
        while largest > 1 and sum(equal_items(largest, most).values()) > budget:
            largest = _count(budget, most, largest)
    all_items = equal_items(largest, most)
    total = sum(all_items.values())
    found: list[Look] = []
    for number_of_it in range(1, number + 1):
        count = _least(-(-total * number_of_it // number), most, largest)
        items = equal_items(count, most)
        share = information(items, all_items)
        before = found[-1].information if found else 0.0
        if number_of_it == number:
            while found and 1 - found[-1].information < LEAST_STEP:
                found.pop()
            found.append(Look(count=largest, items=sum(all_items.values()), information=1.0))
        elif share >= LEAST_INFORMATION and share - before >= LEAST_STEP:
            found.append(Look(count=count, items=sum(items.values()), information=share))
    return tuple(found)


def _least(wanted: int, most: Mapping[str, int], largest: int) -> int:
    """Smallest number of every task's items that makes `wanted` together."""
    low, high = 0, largest
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if sum(equal_items(middle, most).values()) >= wanted else (middle, high)
    return high


def _count(budget: int, most: Mapping[str, int], largest: int) -> int:
    """Largest number of every task's items that `budget` pays for; at least 1."""
    low, high = 1, largest
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if sum(equal_items(middle, most).values()) <= budget else (low, middle)
    return low
