"""Difference and recovery of paired scores with their intervals, and what a claim on them needs besides the interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from whichbits.verdict.estimates import Estimate
from whichbits.verdict.paired import Paired, suite_ratio
from whichbits.verdict.rule_of_three import gains, largest_unseen, losses, unseen_p_value
from whichbits.verdict.score_test import ScoreTest, difference_stratum, recovery_stratum


def paired_difference(pair: Paired, *, level: float = 0.95, look_level: float | None = None) -> Estimate:
    """Mean of score − base with its interval, within the −1 to 1 that are possible; `look_level` as for `recovery`."""
    test = ScoreTest([difference_stratum(pair)])
    low, high = test.interval(look_level or level)
    return Estimate(value=test.numerator, low=max(low, -1.0), high=min(high, 1.0), level=level)


@dataclass(frozen=True)
class Recovery:
    """Recovery of several tasks together, %, with its interval.

    `unseen_loss` and `unseen_gain` are what clusters (or items) that are not in the sample could change it by, in points, at
    the interval's confidence. `by_clusters` says that no cluster tells of the others, so that the interval counts clusters.
    """

    estimate: Estimate
    unseen_loss: float
    unseen_gain: float
    by_clusters: bool
    pairs: tuple[Paired, ...]
    test: ScoreTest
    """Of other recoveries."""

    def shown_above(self, bound: float) -> bool:
        """Whether it is shown to reach `bound`: by the interval, and whatever clusters were not seen."""
        return self.estimate.low >= bound and self.estimate.value - self.unseen_loss >= bound

    def shown_below(self, bound: float) -> bool:
        """Whether it is shown to lie below `bound`: by the interval, and whatever clusters were not seen."""
        return self.estimate.high < bound and self.estimate.value + self.unseen_gain < bound

    @property
    def is_bounded(self) -> bool:
        """Whether its interval has ends; where the base itself could be at chance there is no recovery to speak of."""
        return math.isfinite(self.estimate.high - self.estimate.low)

    def distance(self, bound: float) -> float:
        """Of the recovery from `bound`, in standard errors of a normal distribution; positive above."""
        return self.test.test(bound / 100).distance

    def p_below(self, bound: float) -> float:
        """One-sided p-value of "recovery is below `bound`"."""
        sampled = self.test.test(bound / 100).p_value_of_at_most()
        return max(sampled, unseen_p_value(losses(self.pairs), self.estimate.value - bound))

    def p_above(self, bound: float) -> float:
        """One-sided p-value of "recovery is at least `bound`"."""
        sampled = self.test.test(bound / 100).p_value_of_at_least()
        return max(sampled, unseen_p_value(gains(self.pairs), bound - self.estimate.value))


def recovery(pairs: Sequence[Paired], *, level: float = 0.95, look_level: float | None = None) -> Recovery:
    """100 · Σ_tasks mean(score − chance) / Σ_tasks mean(base − chance), with its interval.

    The upper end is infinite where the base itself could be at chance: then there is no recovery to speak of. Where results are
    looked at several times, the interval is computed for `look_level`, so that those of all looks hold together at `level`.
    What was not seen has `level` then too: nothing is seen at a look only if nothing was before, so that looks add no error.
    """
    test = ScoreTest([recovery_stratum(pair) for pair in pairs])
    low, high = test.interval(look_level or level)
    alpha = (1 - level) / 2
    return Recovery(
        Estimate(value=100 * suite_ratio(pairs), low=100 * low, high=100 * high, level=level),
        unseen_loss=largest_unseen(losses(pairs), alpha),
        unseen_gain=largest_unseen(gains(pairs), alpha),
        by_clusters=test.by_clusters,
        pairs=tuple(pairs),
        test=test,
    )
