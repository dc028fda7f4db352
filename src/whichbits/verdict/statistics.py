"""Plain statistics of paired scores and timed requests; arrays in, numbers out.

Needs numpy at once and `scipy.special` at the first call (not `scipy.stats`, which takes seconds to import).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
POWER = 0.8
"""Power at which sample sizes and smallest resolvable differences are planned."""


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


def z_quantile(level: float) -> float:
    """Half-width of a two-sided normal interval in standard errors, 1.96 at 0.95."""
    return NormalDist().inv_cdf((1 + level) / 2)


def t_quantile(level: float, degrees: float) -> float:
    """Half-width of a two-sided Student interval in standard errors."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, (1 + level) / 2))


def standard_error(values: FloatArray, cluster: Sequence[object] | None = None) -> float:
    """Standard error of the mean of `values` (items,); robust to correlation within clusters where they are given.

    Clustered (CR1): √(k/(k−1) · Σ_c (Σ_{i∈c} (v_i − v̄))²) / n; see Miller, "Adding Error Bars to Evals", arXiv 2411.00640.
    """
    sums = cluster_sums(values - values.mean(), cluster)
    units = len(sums)
    if units < 2:
        return math.inf
    return math.sqrt(units / (units - 1) * float(np.sum(sums**2))) / len(values)


def cluster_sums(values: FloatArray, cluster: Sequence[object] | None) -> FloatArray:
    """Sum `values`, (items,) or (items, columns), over the items of each cluster; every item is its own without clusters."""
    if cluster is None:
        return values
    _, owner = np.unique(np.asarray(cluster).astype(str), return_inverse=True)
    sums = np.zeros((int(owner.max()) + 1, *values.shape[1:]))
    np.add.at(sums, owner, values)
    return sums


def resolvable(error: float, level: float = 0.95, power: float = POWER) -> float:
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


def quantile_interval(values: FloatArray, quantile: float, level: float = 0.95) -> tuple[float, float, float] | None:
    """Empirical quantile of independent `values` with the order statistics that enclose the true one.

    The rank of the true quantile is Binomial(n, quantile), so the bounds hold whatever the distribution. None where so few
    values have no such bounds, e.g. fewer than 72 for the 95th percentile at level 0.95.
    """
    from scipy.special import bdtr

    ordered = np.sort(values)
    n = len(ordered)
    tail = (1 - level) / 2
    below = bdtr(np.arange(n), n, quantile)  # P(at most i of n values lie below the quantile)
    lower = int(np.searchsorted(below, tail, side="right"))  # ranks 1..lower are all below it with P ≥ 1 − tail
    upper = int(np.searchsorted(below, 1 - tail, side="left")) + 1
    if lower < 1 or upper > n:
        return None
    return float(np.quantile(ordered, quantile)), float(ordered[lower - 1]), float(ordered[upper - 1])


@dataclass(frozen=True)
class RoundValue:
    """A metric in one round: its value (> 0) and its relative standard error from the requests of that round alone."""

    value: float
    relative_error: float


def mean_of_requests(values: FloatArray, concurrency: float) -> RoundValue:
    """Mean of a round's per-request values (requests,).

    Requests in flight together speed up and slow down together, so a wave of `concurrency` counts as one observation.
    """
    mean = float(values.mean())
    waves = max(1.0, len(values) / concurrency)
    spread = float(values.std(ddof=1)) if len(values) > 1 else mean
    return RoundValue(mean, spread / mean / math.sqrt(waves))


def log_interval(logs: Sequence[float], within: Sequence[float], level: float = 0.95) -> tuple[float, float, float]:
    """Geometric mean over rounds, and its interval, of a value whose logarithm was `logs` (rounds,).

    A t-interval over rounds with rounds − 1 degrees of freedom. The standard error is never taken smaller than `within`, the
    rounds' own errors (rounds,), allows: by luck two rounds can agree exactly. One round says nothing about the spread
    between rounds: it gets its own error with the t of one degree of freedom (12.7 at 0.95), as wide as two rounds would.
    """
    rounds = len(logs)
    mean = float(np.mean(logs))
    between = float(np.std(logs, ddof=1)) / math.sqrt(rounds) if rounds > 1 else 0.0
    own = math.sqrt(float(np.sum(np.square(within)))) / rounds
    half = t_quantile(level, max(rounds - 1, 1)) * max(between, own)
    return math.exp(mean), math.exp(mean - half), math.exp(min(mean + half, 700.0))
