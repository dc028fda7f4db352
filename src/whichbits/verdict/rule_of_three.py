"""The rule of three over several tasks: how much items that the sample lacks could change a score.

A kind of unit that makes up a share p of a task is missing from k units with probability (1 − p)^k. So k clusters of which none
is broken leave room for a share of 1 − 0.025^(1/k) broken ones, about 3.7/k, at 2.5 % a side. No spread between the clusters
seen tells of it, which is why a claim asks for more than an interval: what could have stayed unseen must not undo it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from whichbits.verdict.paired import Paired
from whichbits.verdict.statistics import FloatArray

_HALVINGS = 60


@dataclass(frozen=True)
class Units:
    """Independent units of a task: how many, and what the suite's recovery (%) would change by if all of them failed."""

    number: float
    effect: float


def losses(pairs: Sequence[Paired]) -> tuple[Units, ...]:
    """Units of each task that the candidate could lose: a failing unit loses what the base has right there."""
    return _units(pairs, [pair.base for pair in pairs])


def gains(pairs: Sequence[Paired]) -> tuple[Units, ...]:
    """Units of each task that the candidate could gain: one on which the base fails and the candidate does not."""
    return _units(pairs, [pair.score for pair in pairs])


def _units(pairs: Sequence[Paired], scores: Sequence[FloatArray]) -> tuple[Units, ...]:
    total = sum(pair.base_above_chance for pair in pairs)
    return tuple(
        Units(pair.clusters, 100 * within_clusters(pair.sums(score), pair.cluster_sizes) / total)
        for pair, score in zip(pairs, scores, strict=True)
    )


def within_clusters(sums: FloatArray, sizes: FloatArray) -> float:
    """Mean score of the cluster that a right answer lies in, from sums and sizes (clusters,): 1 for items right or wrong."""
    return float(np.sum(sums**2 / sizes) / sums.sum()) if sums.any() else 1.0


def largest_unseen(units: Sequence[Units], probability: float) -> float:
    """Largest change of the suite's recovery, in points, by units of which none is in the sample with `probability` or more.

    Maximises Σ effect · p over shares p of each task with Π (1 − p)^number ≥ probability. Where it is largest,
    1 − p is min(1, ν · number / effect) for one ν.
    """
    number = np.array([unit.number for unit in units])
    effect = np.array([unit.effect for unit in units])
    if not effect.any():
        return 0.0
    relative = number / np.where(effect > 0, effect, 1e-300)
    budget = -math.log(probability)
    low, high = 0.0, 1 / float(relative.min())
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        spent = -float(number @ np.log(np.minimum(1, middle * relative)))
        low, high = (middle, high) if spent > budget else (low, middle)
    return float(effect @ (1 - np.minimum(1, high * relative)))


def unseen_p_value(units: Sequence[Units], distance: float) -> float:
    """Largest probability with which units that change the recovery by `distance` points or more stay out of the sample."""
    if distance <= 0:
        return 1.0
    low, high = -700.0, 0.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if largest_unseen(units, math.exp(middle)) >= distance else (low, middle)
    return math.exp(high)
