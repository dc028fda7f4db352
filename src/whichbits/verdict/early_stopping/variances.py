"""How much the items of each task change from the base to a candidate: what an item tells of the suite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from whichbits.verdict.paired import Paired

PRIOR_ITEMS = 10
"""Items of the mean variance that each task is taken to have beside its own: a task in which nothing changed yet still may."""


def variances(pairs: Mapping[str, Sequence[Paired]]) -> dict[str, float]:
    """Variance of an item's change, by task, of a candidate's pairs on it; empty where nothing changed at all.

    Items of a cluster change together, which counts as more variance of each.
    """
    items = {task: sum(pair.items for pair in each) for task, each in pairs.items()}
    return with_prior(items, {task: sum(map(_squares, each)) for task, each in pairs.items()})


def with_prior(items: Mapping[str, int], squares: Mapping[str, float]) -> dict[str, float]:
    """Variance of an item by task, of its items and the sum of their squares; empty where all squares are 0."""
    mean = sum(squares.values()) / max(sum(items.values()), 1)
    if mean == 0:
        return {}
    return {task: (squares[task] + PRIOR_ITEMS * mean) / (count + PRIOR_ITEMS) for task, count in items.items()}


def _squares(pair: Paired) -> float:
    """Sum over units of the squares of what each adds to the change, less its share of it."""
    change = pair.score - pair.base
    return float(np.square(pair.sums(change - change.mean())).sum())
