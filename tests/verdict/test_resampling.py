import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from whichbits.verdict.resampling import Paired, paired_difference, ratio_of_sums, recovery, resample_sums
from whichbits.verdict.statistics import standard_error

BINARY = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=40)


def paired(rows, chance=0.0, cluster=None):
    base, score = np.array(rows, dtype=np.float64).T
    return Paired(base, score, chance, cluster)


def test_resampled_sums_have_the_moments_of_the_bootstrap():
    units = np.array([[0.0], [1.0], [1.0], [4.0]])
    sums = resample_sums(units, np.random.default_rng(0), 40_000)
    assert sums.shape == (40_000, 1)
    assert sums.mean() == pytest.approx(6.0, rel=0.01)
    assert sums.var() == pytest.approx(4 * np.var([0, 1, 1, 4]), rel=0.03)


def test_difference_agrees_with_the_analytic_error():
    rng = np.random.default_rng(3)
    base = (rng.random(2000) < 0.6).astype(float)
    score = np.where(rng.random(2000) < 0.1, 1 - base, base)
    found = paired_difference(Paired(base, score))
    half = 1.96 * standard_error(score - base)
    assert found.value == pytest.approx(np.mean(score - base))
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.04)


@pytest.mark.parametrize("items", [20, 200, 2000])
def test_no_flips_do_not_prove_that_there_are_none(items):
    ones = np.ones(items)
    found = paired_difference(Paired(ones, ones))
    assert found.value == 0
    # of the order of the rule of three: 3/n bounds the share of flips that could have stayed unseen
    assert 1.5 / items < found.high < 5 / items
    assert found.low == pytest.approx(-found.high, rel=0.35)
    kept = recovery([Paired(ones, ones)]).estimate
    assert kept.low < 100 < kept.high


@settings(max_examples=25, deadline=None)
@given(BINARY)
def test_swapping_base_and_candidate_flips_the_sign(rows):
    there = paired_difference(paired(rows))
    back = paired_difference(paired([(score, base) for base, score in rows]))
    assert there.value == -back.value
    tolerance = 3 / len(rows) + 0.02  # the bootstrap's steps
    assert there.low == pytest.approx(-back.high, abs=tolerance)


@settings(max_examples=25, deadline=None)
@given(BINARY, st.randoms())
def test_the_order_of_items_does_not_matter(rows, random):
    shuffled = list(rows)
    random.shuffle(shuffled)
    assert paired_difference(paired(rows)) == paired_difference(paired(shuffled))


def test_recovery_by_hand():
    # base 3/4 and 2/4 over chance 1/4: 0.5 + 0.25; candidate 2/4 and 2/4: 0.25 + 0.25 → 2/3
    first = paired([(1, 1), (1, 1), (1, 0), (0, 0)], chance=0.25)
    second = paired([(1, 1), (1, 1), (0, 0), (0, 0)], chance=0.25)
    assert recovery([first, second]).estimate.value == pytest.approx(100 * 2 / 3)


def test_a_task_weighs_as_its_score_above_chance_and_not_as_its_items():
    small = paired([(1, 1)] * 50 + [(1, 0)] * 50)
    large = paired([(1, 1)] * 5000)
    assert recovery([small, large]).estimate.value == pytest.approx(75.0)


def test_a_base_that_may_be_at_chance_has_no_upper_end():
    assert math.isinf(recovery([paired([(1, 1), (1, 1), (1, 0), (0, 1)], chance=0.6)]).estimate.high)


def test_p_values_follow_the_interval():
    rng = np.random.default_rng(5)
    base = (rng.random(1000) < 0.7).astype(float)
    score = np.where(rng.random(1000) < 0.05, 0.0, base)
    found = recovery([Paired(base, score)])
    assert found.p_below(found.estimate.low) <= 0.026
    assert found.p_above(found.estimate.high) <= 0.027
    assert found.p_below(found.estimate.high) > 0.97


def coverage(draw, truth, estimate, runs):
    hits = 0
    for seed in range(runs):
        found = estimate(draw(np.random.default_rng([11, seed])))
        hits += found.low <= truth <= found.high
    return hits / runs


@pytest.mark.parametrize(("items", "lost", "gained"), [(150, 0.02, 0.01), (400, 0.06, 0.04), (1500, 0.005, 0.005)])
def test_difference_covers(items, lost, gained):
    def draw(rng):
        base = (rng.random(items) < 0.5).astype(float)
        flip = rng.random(items)
        return Paired(base, np.where(base > 0, flip >= 2 * lost, flip < 2 * gained).astype(float))

    found = coverage(draw, gained - lost, lambda pair: paired_difference(pair), 500)
    assert 0.925 <= found <= 0.985


def test_recovery_of_a_suite_covers():
    def draw(rng):
        pairs = []
        for items, right, chance in ((300, 0.6, 0.25), (800, 0.7, 0.0)):
            base = (rng.random(items) < right).astype(float)
            score = np.where(rng.random(items) < 0.05, (rng.random(items) < 0.4).astype(float), base)
            pairs.append(Paired(base, score, chance))
        return pairs

    kept = [0.95 * right + 0.05 * 0.4 - chance for right, chance in ((0.6, 0.25), (0.7, 0.0))]
    truth = 100 * sum(kept) / (0.35 + 0.7)
    found = coverage(draw, truth, lambda pairs: recovery(pairs).estimate, 500)
    assert 0.93 <= found <= 0.975


def test_clusters_are_covered_and_ignoring_them_is_not_enough():
    def draw(rng, clustered=True):
        shared = rng.random(12)  # every cluster has its own rate of loss
        owner = np.repeat(np.arange(12), 50)
        base = np.ones(600)
        score = (rng.random(600) >= 0.3 * shared[owner]).astype(float)
        return Paired(base, score, 0.0, tuple(owner.astype(str)) if clustered else None)

    found = coverage(draw, -0.15, lambda pair: paired_difference(pair), 400)
    blind = coverage(lambda rng: draw(rng, clustered=False), -0.15, lambda pair: paired_difference(pair), 400)
    assert 0.92 <= found <= 0.98
    assert blind < 0.85


def test_one_cluster_for_all_items_says_nothing():
    rows = [(1, 1)] * 30 + [(1, 0)] * 10
    assert paired_difference(paired(rows, cluster=("same",) * 40)) == paired_difference(paired(rows))


def test_ratio_of_sums_of_a_mean_agrees_with_the_t_interval():
    values = np.random.default_rng(7).normal(0.8, 0.1, size=60)
    found = ratio_of_sums(values, np.ones(60))
    reference = stats.t.interval(0.95, 59, loc=values.mean(), scale=stats.sem(values))
    assert (found.low, found.high) == pytest.approx(reference, abs=0.002)


def test_ratio_of_sums_weighs_windows_by_their_tokens():
    found = ratio_of_sums(np.array([10.0, 1.0]), np.array([100.0, 1.0]))
    assert found.value == pytest.approx(11 / 101)
