"""How often intervals hold the truth and claims are wrong, in a few hundred runs with wide tolerance.

`benchmarks/verdict/accuracy.py` does the same for every condition in thousands of runs.
"""

import numpy as np
import pytest

from whichbits.verdict.paired import Paired
from whichbits.verdict.recovery import paired_difference, recovery
from whichbits.verdict.score_test import ScoreTest, recovery_stratum

RUNS = 600


def task(rng, items, lost, gained, right=0.6, chance=0.0, clusters=None, icc=0.0, broken=0.0):
    """Scores of which shares `lost` and `gained` flip, evenly or by cluster; `broken` clusters lose all right answers."""
    owner = np.arange(items) if clusters is None else np.arange(items) * clusters // items
    units = int(owner[-1]) + 1
    rate = np.full(units, lost)
    if icc:
        rate = rng.beta(lost * (1 / icc - 1), (1 - lost) * (1 / icc - 1), units)
    rate = np.where(rng.random(units) < broken, 1.0, rate)[owner]
    base = (rng.random(items) < right).astype(float)
    flip = rng.random(items)
    score = np.where(base > 0, flip >= rate, flip < gained).astype(float)
    return Paired(base, score, chance, None if clusters is None else tuple(owner))


def rates(draw, truth, runs=RUNS):
    """Shares of runs whose interval lies above and below the truth: those that reject it."""
    found = np.zeros(2)
    for seed in range(runs):
        pairs = draw(np.random.default_rng([11, seed]))
        tested = ScoreTest([recovery_stratum(pair) for pair in pairs]).test(truth)
        found += [tested.rejected(0.95) and tested.statistic > 0, tested.rejected(0.95) and tested.statistic < 0]
    return found / runs


def kept(right, lost, gained, chance=0.0):
    return right * (1 - lost) + (1 - right) * gained - chance


@pytest.mark.parametrize(
    ("items", "lost", "gained"), [(1000, 0.015, 0.01), (1000, 0.02, 0.0), (400, 0.06, 0.04), (100, 0.2, 0.2)]
)
def test_one_task_errs_at_the_stated_rate_on_both_sides(items, lost, gained):
    above, below = rates(lambda rng: [task(rng, items, lost, gained)], kept(0.6, lost, gained) / 0.6)
    assert above < 0.042
    assert below < 0.042
    assert 0.015 < above + below < 0.07


def test_a_suite_errs_at_the_stated_rate_on_both_sides():
    sizes, chances = (300, 500, 1000, 2000), (0.0, 0.25, 0.0, 0.25)
    truth = sum(kept(0.6, 0.02, 0.015, chance) for chance in chances) / sum(0.6 - chance for chance in chances)

    def draw(rng):
        return [task(rng, size, 0.02, 0.015, chance=chance) for size, chance in zip(sizes, chances, strict=True)]

    above, below = rates(draw, truth)
    assert max(above, below) < 0.042
    assert 0.025 < above + below < 0.075


def test_tasks_of_five_clusters_together_are_not_wider_than_need_be():
    def draw(rng):
        return [task(rng, 200, 0.03, 0.03, clusters=5) for _ in range(8)]

    assert 0.02 < sum(rates(draw, kept(0.6, 0.03, 0.03) / 0.6, 300)) < 0.085


def test_clusters_are_covered_and_ignoring_them_is_not_enough():
    def draw(rng, clustered=True):
        pair = task(rng, 2000, 0.1, 0.0, right=1.0, clusters=100, icc=0.3)
        return [pair if clustered else Paired(pair.base, pair.score)]

    above, below = rates(draw, 0.9, 300)
    assert 0.01 < above + below < 0.09
    assert sum(rates(lambda rng: draw(rng, clustered=False), 0.9, 300)) > 0.3


def broken(clusters, seed):
    return task(np.random.default_rng([5, seed]), 2000, 0.01, 0.01, clusters=clusters, broken=0.05)


@pytest.mark.parametrize("clusters", [10, 20, 50])
def test_no_claim_is_made_of_few_clusters_of_which_some_may_be_broken(clusters):
    truth = 100 * (0.95 * kept(0.6, 0.01, 0.01) + 0.05 * 0.4 * 0.01) / 0.6  # gains stay in a broken cluster
    draws = (recovery([broken(clusters, s)]) for s in range(150))
    claims = [(found.estimate.low >= truth, found.shown_above(truth)) for found in draws]
    alone, claimed = np.mean(claims, axis=0)
    assert alone > (0.4 if clusters == 10 else 0.03)  # no broken cluster was seen, and the interval knows of none
    assert claimed <= 0.03


def test_what_rejects_the_truth_is_what_the_interval_leaves_out():
    for seed in range(40):
        pair = task(np.random.default_rng([3, seed]), 300, 0.05, 0.05)
        found = recovery([pair]).estimate
        test = ScoreTest([recovery_stratum(pair)])
        for ratio in (found.low / 100 - 1e-4, found.high / 100 + 1e-4):
            assert test.test(ratio).rejected(0.95)
        for ratio in (found.low / 100 + 1e-4, found.high / 100 - 1e-4):
            assert not test.test(ratio).rejected(0.95)


def test_a_difference_covers_too():
    hits = 0
    for seed in range(300):
        found = paired_difference(task(np.random.default_rng([7, seed]), 400, 0.06, 0.04))
        hits += found.low <= 0.4 * 0.04 - 0.6 * 0.06 <= found.high
    assert 0.92 <= hits / 300 <= 0.985


def test_fractional_scores_are_covered():
    hits = 0
    for seed in range(120):
        rng = np.random.default_rng([9, seed])
        base = rng.beta(2, 1, 500)
        pair = Paired(base, np.where(rng.random(500) < 0.3, base * rng.random(500), base))
        found = recovery([pair]).estimate
        hits += found.low <= 85 <= found.high
    assert 0.9 <= hits / 120 <= 1.0 - 1e-9
