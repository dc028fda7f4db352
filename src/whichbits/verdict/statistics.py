"""Plain statistics of paired scores; arrays in, numbers out.

Needs numpy at once and `scipy.special` at the first call (not `scipy.stats`, which takes seconds to import).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from whichbits.verdict.estimates import POWER

FloatArray = NDArray[np.float64]
KEPT = 0.9
"""Share of the stated error that tests and intervals are made for; the rest is for what their approximations miss."""


@dataclass(frozen=True)
class Discordance:
    """Items of a pair whose correctness (score ≥ 0.5) differs: `lost` right → wrong, `gained` wrong → right."""

    items: int
    lost: int
    gained: int

    @property
    def flips(self) -> float:
        """Share of items whose correctness changed."""
        return (self.lost + self.gained) / self.items


def discordance(base: FloatArray, score: FloatArray) -> Discordance:
    """Count the items that are right in only one of two runs; both arrays have shape (items,), scores 0–1."""
    was, now = base >= 0.5, score >= 0.5
    return Discordance(len(base), lost=int(np.sum(was & ~now)), gained=int(np.sum(~was & now)))


def tested_level(level: float) -> float:
    """The level for which tests and intervals are made, so that they hold at `level`."""
    return 1 - KEPT * (1 - level)


def z_quantile(level: float) -> float:
    """Half-width of a two-sided normal interval in standard errors, 1.96 at 0.95."""
    return NormalDist().inv_cdf((1 + level) / 2)


def t_quantile(level: float, degrees: float) -> float:
    """Half-width of a two-sided Student interval in standard errors."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, (1 + level) / 2))


def t_probability(value: float, degrees: float) -> float:
    """Probability that Student's t with `degrees` of freedom is at most `value`."""
    from scipy.special import stdtr

    return float(stdtr(degrees, value))


def standard_error(values: FloatArray, cluster: Sequence[object] | NDArray[np.intp] | None = None) -> float:
    """Standard error of the mean of `values` (items,); robust to correlation within clusters where they are given.

    Clustered (CR1): √(k/(k−1) · Σ_c (Σ_{i∈c} (v_i − v̄))²) / n; see Miller, "Adding Error Bars to Evals", arXiv 2411.00640.
    """
    sums = cluster_sums(values - values.mean(), cluster)
    units = len(sums)
    if units < 2:
        return math.inf
    return math.sqrt(units / (units - 1) * float(np.sum(sums**2))) / len(values)


def cluster_sums(values: FloatArray, cluster: Sequence[object] | NDArray[np.intp] | None) -> FloatArray:
    """Sum `values`, (items,) or (items, columns), over the items of each cluster; every item is its own without clusters."""
    if cluster is None:
        return values
    owner = cluster_numbers(cluster)
    sums = np.zeros((int(owner.max()) + 1, *values.shape[1:]))
    np.add.at(sums, owner, values)
    return sums


def cluster_numbers(cluster: Sequence[object] | NDArray[np.intp]) -> NDArray[np.intp]:
    """Number of each item's cluster, (items,), from 0."""
    names = np.asarray(cluster)
    _, owner = np.unique(names if names.dtype.kind in "iu" else names.astype(str), return_inverse=True)
    return owner


def detectable(error: float, level: float = 0.95, power: float = POWER) -> float:
    """Smallest true difference that a test at `level` finds with probability `power`, given its standard error."""
    return (z_quantile(level) + NormalDist().inv_cdf(power)) * error


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Holm's adjusted p-values: a claim holds in the family at α where its adjusted value is ≤ α."""
    adjusted: dict[str, float] = {}
    largest = 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[name]))
        adjusted[name] = largest
    return {name: adjusted[name] for name in p_values}
