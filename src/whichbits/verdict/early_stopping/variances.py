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
    own = {task: (sum(pair.items for pair in each), sum(map(_squares, each))) for task, each in pairs.items()}
    mean = sum(squares for _, squares in own.values()) / max(sum(items for items, _ in own.values()), 1)
    if mean == 0:
        return {}
    return {task: (squares + PRIOR_ITEMS * mean) / (items + PRIOR_ITEMS) for task, (items, squares) in own.items()}


def _squares(pair: Paired) -> float:
    """Sum over units of the squares of what each adds to the change, less its share of it."""
    change = pair.score - pair.base
    return float(np.square(pair.sums(change - change.mean())).sum())
