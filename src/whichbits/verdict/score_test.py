"""Score test of a ratio of stratified means, and the interval of the ratios that it does not reject.

For each ratio r the contrast Σ_tasks mean(numerator − r · denominator) is tested against zero (Fieller). Its standard error is
that of the distribution nearest to the data under which the contrast *is* zero, as in Tango's test of paired proportions
(Statist. Med. 17, 1998): each unit's weight becomes 1 / (1 + λ z) (empirical likelihood), z being what the unit adds to the
contrast. So a null hypothesis that asks for more losses than were seen has the spread of those losses. Where the units seen
cannot give it, units not seen do, and no flips do not prove that there are none.

Units are items, or clusters of items with the bias correction of CR2 (Bell and McCaffrey, 2002). Quantiles are Student's,
with the degrees of freedom of Welch and Satterthwaite over tasks, corrected for the skewness of the contrast where that
would make the test reject too often (Cornish and Fisher). What the approximations still take beyond the stated error in
simulation is kept back: tests are made for `KEPT` of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from whichbits.verdict.paired import Paired
from whichbits.verdict.statistics import KEPT, FloatArray, t_probability, t_quantile, tested_level

_MOST_SKEWNESS = 1.0  # beyond it the expansion of Cornish and Fisher means nothing
_NORMAL = 1e9  # degrees of freedom of a normal distribution
_MOST_DISTANT = 37.0  # standard errors: beyond it the probability of a normal distribution is no number
_DOUBLINGS = 40
_STEPS = 60


@dataclass(frozen=True)
class Stratum:
    """A task as units; arrays (atoms,): equal units are one atom with its `count`.

    `numerator` and `denominator` are what a unit adds to the two means, less its share of them (centred).
    """

    numerator_mean: float
    denominator_mean: float
    numerator: FloatArray
    denominator: FloatArray
    count: FloatArray
    degrees: float
    """Degrees of freedom of the variance between units."""
    unseen: float
    """By how much the mean changes with one item that is not in the sample: as the item that moved most, or by 1/items."""
    unseen_cluster: float
    """By how much it changes with a cluster that is not in the sample."""
    moved: bool
    """Whether any item's score differs from the base's."""


def recovery_stratum(pair: Paired) -> Stratum:
    """Numerator score − chance, denominator base − chance: the ratio is the recovery (1 is all of it)."""
    return _stratum(pair, pair.score - pair.chance, pair.base - pair.chance)


def difference_stratum(pair: Paired) -> Stratum:
    """Numerator score − base, denominator one: the ratio is the mean difference."""
    return _stratum(pair, pair.score - pair.base, np.ones(pair.items))


def _stratum(pair: Paired, numerator: FloatArray, denominator: FloatArray) -> Stratum:
    rows, count = _equal_together(np.column_stack([pair.sums(numerator), pair.sums(denominator), pair.cluster_sizes]))
    return stratum_of_units(rows, count, moved=float(np.max(np.abs(pair.score - pair.base))))


def stratum_of_units(rows: FloatArray, count: FloatArray, *, moved: float) -> Stratum:
    """A task from its units: sums of numerator and denominator and items of each, (atoms, 3); how many there are, (atoms,).

    `moved` is by how much the score of the item that moved most differs from the base's.
    """
    items, units = float(rows[:, 2] @ count), float(count.sum())
    means = rows.T @ count / items
    centred = (rows - rows[:, 2:] * means)[:, :2]
    size = rows[:, 2]
    if units > 1:
        centred = centred / np.sqrt(1 - size / items)[:, None]
        centred = centred - count @ centred / units
    else:
        centred = np.zeros_like(centred)
    return Stratum(
        numerator_mean=float(means[0]),
        denominator_mean=float(means[1]),
        numerator=centred[:, 0] / items,
        denominator=centred[:, 1] / items,
        count=count,
        degrees=max(float((count @ size**2) ** 2 / (count @ size**4)) - 1, 1e-9),
        unseen=(moved or 1.0) / items,
        unseen_cluster=float(count @ size**2) / items**2,
        moved=moved > 0,
    )


def _equal_together(rows: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The different rows of (units, columns), in order, and how often each is there."""
    ordered = rows[np.lexsort(rows.T)]
    first = np.flatnonzero(np.concatenate([[True], np.any(ordered[1:] != ordered[:-1], axis=1)]))
    return ordered[first], np.diff(np.append(first, len(rows))).astype(np.float64)


@dataclass(frozen=True)
class Tested:
    """The contrast at one ratio in standard errors, as a quantile of Student's t with `degrees` of freedom."""

    statistic: float
    degrees: float

    def rejected(self, level: float) -> bool:
        """Whether the ratio lies outside the interval at `level`."""
        return abs(self.statistic) > critical_value(level, self.degrees)

    @property
    def distance(self) -> float:
        """The statistic of a normal distribution that is exceeded with the same probability; of the same sign."""
        from scipy.special import ndtri

        tail = t_probability(-abs(self.statistic), self.degrees)
        away = _MOST_DISTANT if tail <= 0 else min(-float(ndtri(tail)), _MOST_DISTANT)
        return math.copysign(away, self.statistic)

    def p_value_of_at_most(self) -> float:
        """One-sided p-value of "the ratio is at most this"."""
        return min(t_probability(-self.statistic, self.degrees) / KEPT, 1.0)

    def p_value_of_at_least(self) -> float:
        """One-sided p-value of "the ratio is at least this"."""
        return min(t_probability(self.statistic, self.degrees) / KEPT, 1.0)


def critical_value(level: float, degrees: float) -> float:
    """The statistic beyond which a ratio is rejected at `level`, on either side."""
    return t_quantile(tested_level(level), degrees)


class ScoreTest:
    """The test of a ratio Σ numerator means / Σ denominator means over tasks."""

    def __init__(self, strata: Sequence[Stratum]) -> None:
        self.numerator = sum(stratum.numerator_mean for stratum in strata)
        self.denominator = sum(stratum.denominator_mean for stratum in strata)
        self._numerators = np.concatenate([stratum.numerator for stratum in strata])
        self._denominators = np.concatenate([stratum.denominator for stratum in strata])
        self._count = np.concatenate([stratum.count for stratum in strata])
        self._task = np.repeat(np.arange(len(strata)), [len(stratum.count) for stratum in strata])
        self._degrees = np.array([stratum.degrees for stratum in strata])
        silent = not any(stratum.moved for stratum in strata)
        alone = [stratum.count.sum() < 2 for stratum in strata]
        unseen = [s.unseen_cluster if silent or one else s.unseen for s, one in zip(strata, alone, strict=True)]
        self.by_clusters = any(u > s.unseen for u, s in zip(unseen, strata, strict=True))
        """Whether clusters are what is unseen, as none tells of the others: there is but one, or no item of any has moved."""
        self._unseen_task = int(np.argmax(unseen))
        self._unseen = unseen[self._unseen_task]

    def variances(self, ratio: float) -> FloatArray:
        """Variance of each task's contribution to the contrast, (tasks,), from the units' spread as it was seen."""
        z = self._numerators - ratio * self._denominators
        return self._by_task(self._count * z * z)

    def test(self, ratio: float) -> Tested:
        """Test one ratio; the statistic is positive where the data's ratio is larger."""
        contrast = self.numerator - ratio * self.denominator
        variances = self.variances(ratio)
        total = float(variances.sum())
        degrees = total**2 / float(np.sum(variances**2 / self._degrees)) if total > 0 else _NORMAL
        if contrast == 0:
            return Tested(0.0, degrees)
        sign = math.copysign(1.0, contrast)
        z = sign * (self._numerators - ratio * self._denominators)
        return Tested(sign * self._studentize(z, abs(contrast), total), degrees)

    def _studentize(self, z: FloatArray, contrast: float, total: float) -> float:
        """The contrast (> 0) in standard errors under the null, corrected for skewness."""
        tilt, rest = self._tilt(z, contrast, total)
        weight = self._count / (1 + tilt * z)
        first, second, mass = (self._by_task(weight * z**power) for power in (1, 2, 0))
        first[self._unseen_task] -= rest
        second[self._unseen_task] += rest * self._unseen
        mass[self._unseen_task] += rest / self._unseen
        variance = float(np.sum(second - first**2 / mass))
        third = float(weight @ z**3) - rest * self._unseen**2
        skewness = min(max(third / math.pow(variance, 1.5), 0.0), _MOST_SKEWNESS)
        raw = contrast / math.sqrt(variance)
        if skewness == 0:
            return raw
        # the quantile q for which raw = q + (q² − 1) · skewness / 6
        sixth = skewness / 6
        return (math.sqrt(1 + 4 * sixth * (sixth + raw)) - 1) / (2 * sixth)

    def _tilt(self, z: FloatArray, contrast: float, total: float) -> tuple[float, float]:
        """λ with −Σ count · z / (1 + λ z) = contrast, and what of the contrast is left to units that were not seen."""
        lowest = -float(z.min())
        if lowest <= self._unseen * (1 + 1e-9):
            largest = (1 - 1e-9) / self._unseen
            reached = -float(np.sum(self._count * z / (1 + largest * z)))
            if reached <= contrast:
                return largest, contrast - reached
        low, high = 0.0, 1 / max(lowest, self._unseen)
        tilt = min(contrast / total, high / 2) if total > 0 else high / 2
        for _ in range(_STEPS):
            scale = 1 + tilt * z
            error = -float(np.sum(self._count * z / scale)) - contrast
            if abs(error) < 1e-7 * contrast:
                break
            low, high = (low, tilt) if error > 0 else (tilt, high)
            newton = tilt - error / float(np.sum(self._count * (z / scale) ** 2))
            tilt = newton if low < newton < high else (low + high) / 2
        return tilt, 0.0

    def _by_task(self, values: FloatArray) -> FloatArray:
        sums: FloatArray = np.bincount(self._task, values, len(self._degrees)).astype(np.float64)
        return sums

    def interval(self, level: float) -> tuple[float, float]:
        """The ratios around the data's that are not rejected at `level`; infinite where all on one side are kept."""
        return self._limit(-1.0, level), self._limit(1.0, level)

    def _limit(self, side: float, level: float) -> float:
        value = self.numerator / self.denominator

        def excess(ratio: float) -> float:
            tested = self.test(ratio)
            return -side * tested.statistic - critical_value(level, tested.degrees)

        inside, step = value, 0.01
        for _ in range(_DOUBLINGS):
            outside = value + side * step
            if excess(outside) > 0:
                return find_root(excess, inside, outside)
            inside, step = outside, 2 * step
        return side * math.inf


def find_root(function: Callable[[float], float], low: float, high: float, tolerance: float = 1e-7) -> float:
    """Where `function` changes sign between two ends with different signs (Illinois' variant of regula falsi)."""
    at_low, at_high = function(low), function(high)
    kept = 0
    for _ in range(200):
        if abs(high - low) <= tolerance:
            break
        middle = (low * at_high - high * at_low) / (at_high - at_low)
        if not min(low, high) < middle < max(low, high):
            middle = (low + high) / 2
        at_middle = function(middle)
        if at_middle == 0:
            return middle
        if (at_middle > 0) == (at_high > 0):
            high, at_high = middle, at_middle
            at_low, kept = (at_low / 2 if kept == 1 else at_low), 1
        else:
            low, at_low = middle, at_middle
            at_high, kept = (at_high / 2 if kept == -1 else at_high), -1
    return (low + high) / 2
