"""Scores of base and candidate drawn from known truth, as counts of items or as sums over clusters of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from whichbits.verdict.paired import Paired
from whichbits.verdict.rule_of_three import Units, within_clusters
from whichbits.verdict.score_test import Stratum, recovery_stratum, stratum_of_units

Array = NDArray[np.float64]
Rates = Literal["even", "beta", "broken"]
_SCORE, _BASE = np.array([1.0, 0, 1, 0]), np.array([1.0, 1, 0, 0])  # kept, lost, gained, never right


@dataclass(frozen=True)
class Sample:
    """A task as it was drawn: what the test takes, and its units that could be lost and gained (effect in mean scores)."""

    stratum: Stratum
    losses: Units
    gains: Units


@dataclass(frozen=True)
class Task:
    """A task of the population: shares of items right by the base, and of those lost, and of the others gained.

    `rates` says how the shares lost and gained lie over clusters: `even`; `beta`, with an intra-class correlation of `icc`;
    `broken`: in a share `broken` of the clusters a part `severity` of the items fails (or where `base_broken`, fails for the
    base alone). With `difficulty` the base's share of right answers varies between clusters, with that correlation.
    """

    items: int = 1000
    right: float = 0.6
    lost: float = 0.03
    gained: float = 0.02
    chance: float = 0.0
    clusters: int | None = None
    sizes: Literal["equal", "lognormal", "one large"] = "equal"
    rates: Rates = "even"
    icc: float = 0.3
    broken: float = 0.0
    base_broken: bool = False
    severity: float = 1.0
    difficulty: float = 0.0

    def above_chance(self) -> tuple[float, float]:
        """True mean scores above chance of candidate and base."""
        score = self.right * (1 - self.lost) + (1 - self.right) * self.gained
        failing = self.broken * self.severity
        if self.base_broken:
            return (1 - failing) * score + failing * self.right - self.chance, self.right * (1 - failing) - self.chance
        return score * (1 - failing) - self.chance, self.right - self.chance

    def counts(self, rng: np.random.Generator) -> Array:
        """Items kept, lost, gained and never right, (clusters, 4); one row where items are independent."""
        sizes = self._sizes(rng)
        units = len(sizes)
        right = _beta(rng, self.right, self.difficulty, units)
        spread = self.icc if self.rates == "beta" else 0.0
        lost, gained = _beta(rng, self.lost, spread, units), _beta(rng, self.gained, spread, units)
        kinds = np.column_stack([right * (1 - lost), right * lost, (1 - right) * gained, (1 - right) * (1 - gained)])
        if self.broken:
            failing = (self.severity * (rng.random(units) < self.broken))[:, None]
            failed = np.zeros((units, 4))
            failed[:, 2 if self.base_broken else 1], failed[:, 3] = right, 1 - right
            kinds = (1 - failing) * kinds + failing * failed
        return rng.multinomial(sizes, kinds / kinds.sum(axis=1, keepdims=True)).astype(np.float64)

    def draw(self, rng: np.random.Generator) -> Sample:
        """A sample."""
        counts = self.counts(rng)
        moved = float(counts[:, 1:3].any())
        if self.clusters is None:
            rows, count = np.column_stack([_SCORE - self.chance, _BASE - self.chance, np.ones(4)]), counts[0]
            some = count > 0
            stratum = stratum_of_units(rows[some], count[some], moved=moved)
            return Sample(stratum, Units(self.items, 1.0), Units(self.items, 1.0))
        score, base, sizes = counts @ _SCORE, counts @ _BASE, counts.sum(axis=1)
        number = self.items**2 / float(sizes @ sizes)
        rows = np.column_stack([score - sizes * self.chance, base - sizes * self.chance, sizes])
        return Sample(
            stratum_of_units(rows, np.ones(len(sizes)), moved=moved),
            Units(number, within_clusters(base, sizes)),
            Units(number, within_clusters(score, sizes)),
        )

    def _sizes(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Items of each cluster; of independent items, all."""
        if self.clusters is None:
            return np.array([self.items])
        if self.sizes == "equal":
            return np.diff(np.arange(self.clusters + 1) * self.items // self.clusters)
        if self.sizes == "one large":
            rest = self.items // 2
            return np.array([self.items - rest, *np.diff(np.arange(self.clusters) * rest // (self.clusters - 1))])
        weights = np.exp(rng.normal(0, 0.8, self.clusters))
        drawn = rng.multinomial(self.items, weights / weights.sum())
        return drawn[drawn > 0]


@dataclass(frozen=True)
class FractionalTask:
    """Scores between 0 and 1; of a share lost, a random part of the score is; of a share gained, a part of what lacks to 1."""

    items: int
    right: float = 0.6
    lost: float = 0.1
    gained: float = 0.1

    def above_chance(self) -> tuple[float, float]:
        """True mean scores of candidate and base."""
        return self.right * (1 - self.lost / 2) + (1 - self.right) * self.gained * (1 - self.lost) / 2, self.right

    def draw(self, rng: np.random.Generator) -> Sample:
        """A sample."""
        base = rng.beta(3 * self.right, 3 * (1 - self.right), self.items)
        chosen, moved, part = rng.random((3, self.items))
        score = np.where(chosen < self.lost, base * (1 - part), np.where(moved < self.gained, base + (1 - base) * part, base))
        units = [Units(self.items, within_clusters(values, np.ones(self.items))) for values in (base, score)]
        return Sample(recovery_stratum(Paired(base, score)), *units)


def _beta(rng: np.random.Generator, mean: float, icc: float, size: int) -> Array:
    """Shares with a mean and an intra-class correlation, (size,)."""
    if icc == 0 or mean in (0.0, 1.0):
        return np.full(size, mean)
    total = 1 / icc - 1
    return rng.beta(mean * total, (1 - mean) * total, size)


def true_recovery(tasks: Sequence[Task | FractionalTask]) -> float:
    """Recovery of the population, as a ratio."""
    above = [task.above_chance() for task in tasks]
    return sum(score for score, _ in above) / sum(base for _, base in above)
