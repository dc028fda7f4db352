"""The bootstrap of paired, clustered scores, and what follows from it: difference, recovery, the recovery of a suite.

Two rules keep the intervals honest where a plain percentile bootstrap is not:

- *No certainty from silence.* Zero observed flips do not prove that there are none, yet resampling them gives an interval of
  width zero. Each task is resampled with two items added, one lost and one gained, which is the adjustment of Bonett and
  Price (2012) for a difference of paired proportions; with no flip in n items its half-width is about 2.8/n (the
  one-sided "rule of three" is 3/n). With many flips it vanishes.
- *Few clusters.* The spread of k resampled units is too small by √((k−1)/k), and k units deserve Student's quantile instead
  of the normal one; deviations of the replicates are widened by both factors.

Point estimates are those of the data alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from whichbits.verdict.model import Estimate
from whichbits.verdict.statistics import FloatArray, cluster_sums, standard_error, t_quantile, z_quantile

RESAMPLES = 10_000
_CHUNK = 2_000_000
_ADDED = np.array([[0.0, 1.0, 1.0], [1.0, 0.0, 1.0]])  # (score, base, count): one item lost, one gained


@dataclass(frozen=True)
class Paired:
    """Scores (0–1) of base and candidate on the same items, both (items,), with the score that guessing gets.

    `cluster` names what each item shares with others (a document, a subject); None where items are independent.
    """

    base: FloatArray
    score: FloatArray
    chance: float = 0.0
    cluster: Sequence[object] | None = None

    @property
    def items(self) -> int:
        """Number of items."""
        return len(self.base)

    @property
    def base_above_chance(self) -> float:
        """Mean score of the base above chance."""
        return float(self.base.mean()) - self.chance

    @property
    def above_chance(self) -> float:
        """Mean score of the candidate above chance."""
        return float(self.score.mean()) - self.chance

    def influence(self, ratio: float) -> FloatArray:
        """(score − chance) − ratio · (base − chance) of each item, (items,): what the item adds to a ratio of sums."""
        return (self.score - self.chance) - ratio * (self.base - self.chance)


def resample_sums(units: FloatArray, generator: np.random.Generator, resamples: int = RESAMPLES) -> FloatArray:
    """Sums over units (units, columns) drawn with replacement, (resamples, columns).

    Equal units are drawn together, so right/wrong scores cost next to nothing and the order of items does not matter.
    """
    rows, counts = np.unique(units, axis=0, return_counts=True)
    shares = counts / counts.sum()
    chunk = max(1, _CHUNK // len(rows))
    parts = [
        generator.multinomial(len(units), shares, size=min(chunk, resamples - start)) @ rows
        for start in range(0, resamples, chunk)
    ]
    return np.concatenate(parts)


def widening(units: int, level: float) -> float:
    """Factor on the deviations of replicates of `units` resampled units; near 1 where there are many."""
    return t_quantile(level, units - 1) / z_quantile(level) * math.sqrt(units / (units - 1))


def resample_means(pair: Paired, generator: np.random.Generator, level: float = 0.95) -> FloatArray:
    """Replicates of (mean score, mean base score), (RESAMPLES, 2), with the two rules of this module."""
    columns = np.column_stack([pair.score, pair.base, np.ones(pair.items)])
    units = cluster_sums(columns, usable_clusters(pair.cluster))
    with_added = np.concatenate([units, _ADDED])
    sums = resample_sums(with_added, generator)
    totals = with_added.sum(axis=0)
    centre = totals[:2] / totals[2]
    means: FloatArray = centre + widening(max(len(units), 2), level) * (sums[:, :2] / sums[:, 2:] - centre)
    return means


def usable_clusters(cluster: Sequence[object] | None) -> Sequence[object] | None:
    """The clusters, or None where all items share one: a single cluster says nothing about a spread between clusters."""
    return cluster if cluster is not None and len(set(cluster)) > 1 else None


def percentile_estimate(value: float, replicates: FloatArray, level: float) -> Estimate:
    """Percentile interval of replicates (resamples,), stretched where need be to hold the point estimate."""
    low, high = np.quantile(replicates, [(1 - level) / 2, (1 + level) / 2], method="inverted_cdf")
    return Estimate(value=value, low=min(float(low), value), high=max(float(high), value), level=level)


def paired_difference(pair: Paired, *, level: float = 0.95, seed: int = 0) -> Estimate:
    """Mean of score − base with its interval by paired bootstrap over clusters."""
    means = resample_means(pair, np.random.default_rng(seed), level)
    return percentile_estimate(float(np.mean(pair.score - pair.base)), means[:, 0] - means[:, 1], level)


@dataclass(frozen=True)
class Recovery:
    """Recovery of several tasks together, %, and the replicates (resamples,) behind its interval."""

    estimate: Estimate
    replicates: FloatArray

    def p_below(self, bound: float) -> float:
        """One-sided p-value of "recovery is below `bound`": the share of replicates there."""
        return (1 + float(np.sum(self.replicates < bound))) / (1 + len(self.replicates))

    def p_above(self, bound: float) -> float:
        """One-sided p-value of "recovery is at least `bound`"."""
        return (1 + float(np.sum(self.replicates >= bound))) / (1 + len(self.replicates))


def recovery(pairs: Sequence[Paired], *, level: float = 0.95, seed: int = 0) -> Recovery:
    """100 · Σ_tasks mean(score − chance) / Σ_tasks mean(base − chance), with its interval.

    Each task is resampled on its own (stratified), score and base together (paired), whole clusters at a time.
    The upper end is infinite where the base itself could be at chance: then there is no recovery to speak of.
    """
    streams = np.random.default_rng(seed).spawn(len(pairs))
    means = [resample_means(pair, stream, level) for pair, stream in zip(pairs, streams, strict=True)]
    chance = sum(pair.chance for pair in pairs)
    totals = np.sum(means, axis=0) - chance
    value = 100 * suite_ratio(pairs)
    at_chance = totals[:, 1] <= 0
    replicates = np.where(at_chance, np.inf, 100 * totals[:, 0] / np.where(at_chance, 1.0, totals[:, 1]))
    return Recovery(percentile_estimate(value, replicates, level), replicates)


def suite_ratio(pairs: Sequence[Paired]) -> float:
    """Σ mean(score − chance) / Σ mean(base − chance) over tasks."""
    return sum(pair.above_chance for pair in pairs) / sum(pair.base_above_chance for pair in pairs)


def item_variance(pair: Paired, ratio: float) -> float:
    """Variance that one item of the task contributes to Σ (score − ratio · base), clusters counted; never zero.

    The two added items enter here too, so that no flips do not promise that few more items suffice.
    """
    error = standard_error(pair.influence(ratio), usable_clusters(pair.cluster))
    return pair.items * error**2 + 2 / pair.items


def ratio_of_sums(numerator: FloatArray, denominator: FloatArray, *, level: float = 0.95, seed: int = 0) -> Estimate:
    """Σ numerator / Σ denominator over at least two units (windows, prompts), both (units,), with a bootstrap over units.

    With a denominator of ones this is a mean.
    """
    value = float(numerator.sum() / denominator.sum())
    units = np.column_stack([numerator, denominator])
    sums = resample_sums(units, np.random.default_rng(seed))
    replicates = value + widening(len(units), level) * (sums[:, 0] / sums[:, 1] - value)
    return percentile_estimate(value, replicates, level)
