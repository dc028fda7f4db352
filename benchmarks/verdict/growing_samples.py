"""Samples that grow: tasks of a known population, of which more and more items are seen, for simulated looks.

A task's sample is drawn once. At each look its first items are what the verdict's test takes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from whichbits.verdict.rule_of_three import Units, within_clusters
from whichbits.verdict.score_test import Stratum, stratum_of_units

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Population:
    """A task: its items, share right by the base, what is lost and gained of it, what guessing gets.

    With `samples` an item has so many answers, and items differ in how often they are right. With `clusters` items come in
    clusters whose shares lost and gained differ, with an intra-class correlation of `icc`; `broken` of them lose everything.
    """

    items: int
    right: float = 0.6
    lost: float = 0.03
    gained: float = 0.02
    chance: float = 0.0
    samples: int = 1
    clusters: int | None = None
    icc: float = 0.0
    broken: float = 0.0

    def above_chance(self) -> tuple[float, float]:
        """True mean scores above chance of candidate and base."""
        kept = self.right * (1 - self.lost) + (1 - self.right) * self.gained
        return kept * (1 - self.broken) - self.chance, self.right - self.chance

    @cached_property
    def kinds(self) -> tuple[Array, Array]:
        """The kinds of item: (score, base) of each, (kinds, 2), and their shares, (kinds,)."""
        if self.samples == 1:
            shares = [self.right * (1 - self.lost), self.right * self.lost]
            shares += [(1 - self.right) * self.gained, (1 - self.right) * (1 - self.gained)]
            return np.array([[1, 1], [0, 1], [1, 0], [0, 0]], dtype=float), np.array(shares)
        from scipy.stats import beta, binom

        grid = (np.arange(400) + 0.5) / 400
        weight = beta.pdf(grid, 2 * self.right, 2 * (1 - self.right))
        weight = weight / weight.sum()
        weight *= 1 + (self.right - weight @ grid) * (grid - weight @ grid) / (weight @ grid**2 - (weight @ grid) ** 2)
        after = grid * (1 - self.lost) + (1 - grid) * self.gained
        count = np.arange(self.samples + 1)
        base, score = (binom.pmf(count[:, None], self.samples, p) for p in (grid, after))
        shares = np.einsum("sg,bg,g->sb", score, base, weight)
        pairs = np.array([[s, b] for s in count for b in count]) / self.samples
        return pairs, shares.ravel()

    def draw(self, rng: np.random.Generator, counts: Sequence[int]) -> Sample:
        """One sample, of which the first so many items are seen at each look."""
        if self.clusters is None:
            more = np.diff([0, *counts])
            return ItemSample(self, np.cumsum(rng.multinomial(more, self.kinds[1] / self.kinds[1].sum()), axis=0))
        size = -(-self.items // self.clusters)
        lost, gained = (_beta(rng, mean, self.icc, self.clusters) for mean in (self.lost, self.gained))
        if self.broken:
            fails = rng.random(self.clusters) < self.broken
            lost, gained = np.where(fails, 1.0, lost), np.where(fails, 0.0, gained)
        shares = np.column_stack(
            [self.right * (1 - lost), self.right * lost, (1 - self.right) * gained, (1 - self.right) * (1 - gained)]
        )
        rows = rng.multinomial(size, shares / shares.sum(axis=1, keepdims=True))
        return ClusterSample(self, rows, np.array(counts), size, rng)


class Sample(ABC):
    """A task's sample as it grows."""

    @abstractmethod
    def contrast(self, ratio: float) -> tuple[Array, Array]:
        """Mean of score − ratio · base above chance and its variance at each look, (looks,), from the plain spread."""

    @abstractmethod
    def at(self, look: int) -> Drawn:
        """What the verdict's test takes of it at a look."""


@dataclass(frozen=True)
class ItemSample(Sample):
    """Independent items: how many of each kind are seen, (looks, kinds)."""

    task: Population
    seen: NDArray[np.int64]

    def contrast(self, ratio: float) -> tuple[Array, Array]:
        """As `Sample` has it."""
        above = self.task.kinds[0] - self.task.chance
        value = above[:, 0] - ratio * above[:, 1]
        items = self.seen.sum(axis=1)
        mean = self.seen @ value / items
        return mean, (self.seen @ value**2 / items - mean**2) / items

    def at(self, look: int) -> Drawn:
        """As `Sample` has it."""
        number = self.seen[look]
        values, some = self.task.kinds[0], number > 0
        rows = np.column_stack([values - self.task.chance, np.ones(len(values))])[some]
        moved = float(np.max(np.abs(values[some, 0] - values[some, 1])))
        count = number[some].astype(float)
        within = [_within(values[some, side], count) for side in (1, 0)]
        items = float(count.sum())
        return Drawn(stratum_of_units(rows, count, moved=moved), Units(items, within[0]), Units(items, within[1]))


@dataclass(frozen=True)
class ClusterSample(Sample):
    """Items in clusters: how many of each kind each cluster has, (clusters, 4); the last one seen at a look may be cut."""

    task: Population
    rows: NDArray[np.int64]
    counts: NDArray[np.int64]
    size: int
    rng: np.random.Generator

    def contrast(self, ratio: float) -> tuple[Array, Array]:
        """As `Sample` has it."""
        chance = self.task.chance
        sums = self.rows @ (np.array([1.0, 0, 1, 0]) - ratio * np.array([1.0, 1, 0, 0])) - self.size * (1 - ratio) * chance
        whole = np.maximum(self.counts // self.size, 1)
        items = whole * self.size
        mean = np.cumsum(sums)[whole - 1] / items
        return mean, np.maximum(np.cumsum(sums**2)[whole - 1] / items**2 - mean**2 / whole, 1e-12)

    def at(self, look: int) -> Drawn:
        """As `Sample` has it."""
        whole, rest = divmod(int(self.counts[look]), self.size)
        rows = self.rows[:whole].astype(float)
        if rest:
            rows = np.vstack([rows, self.rng.multivariate_hypergeometric(self.rows[whole], rest)])
        score, base, sizes = rows @ np.array([1.0, 0, 1, 0]), rows @ np.array([1.0, 1, 0, 0]), rows.sum(axis=1)
        units = np.column_stack([score - sizes * self.task.chance, base - sizes * self.task.chance, sizes])
        number = float(sizes.sum() ** 2 / (sizes @ sizes))
        stratum = stratum_of_units(units, np.ones(len(sizes)), moved=float(rows[:, 1:3].any()))
        return Drawn(stratum, Units(number, within_clusters(base, sizes)), Units(number, within_clusters(score, sizes)))


@dataclass(frozen=True)
class Drawn:
    """What a test takes of a task, and its units that could be lost and gained (effect in mean scores)."""

    stratum: Stratum
    losses: Units
    gains: Units


def _within(values: Array, count: Array) -> float:
    total = float(values @ count)
    return float(values**2 @ count) / total if total else 1.0


def _beta(rng: np.random.Generator, mean: float, icc: float, size: int) -> Array:
    if icc == 0 or mean in (0.0, 1.0):
        return np.full(size, mean)
    total = 1 / icc - 1
    return rng.beta(mean * total, (1 - mean) * total, size)


def with_recovery(tasks: Sequence[Population], recovery: float) -> list[Population]:
    """The tasks with so much more or less lost (or where nothing is left to, gained) that each keeps `recovery` of its base."""
    found = []
    for task in tasks:
        wanted = ((task.right - task.chance) * recovery + task.chance) / (1 - task.broken)
        lost = 1 - (wanted - (1 - task.right) * task.gained) / task.right
        gained = task.gained
        if lost < 0:
            lost, gained = 0.0, (wanted - task.right) / (1 - task.right)
        found.append(replace(task, lost=lost, gained=gained))
    return found
