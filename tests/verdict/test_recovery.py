"""Values by hand, laws, and exact references of the intervals; how often they cover is in test_error_rates.py."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from whichbits.verdict.paired import Paired
from whichbits.verdict.recovery import paired_difference, recovery
from whichbits.verdict.score_test import critical_value
from whichbits.verdict.statistics import standard_error

CRITICAL = critical_value(0.95, 1e9)
BINARY = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=40)


def paired(rows, chance=0.0, cluster=None):
    base, score = np.array(rows, dtype=np.float64).T
    return Paired(base, score, chance, cluster)


def flipped(items, lost, gained):
    return paired([(1, 0)] * lost + [(0, 1)] * gained + [(1, 1)] * (items - lost - gained))


def tango(items, lost, gained, side):
    """A limit of Tango's score interval (Statist. Med. 17, 1998) for gained − lost, by its closed form under the null."""

    def statistic(delta):
        b = -gained - lost + (2 * items - gained + lost) * delta
        c = -lost * delta * (1 - delta)
        p = (math.sqrt(b * b - 8 * items * c) - b) / (4 * items)
        return (gained - lost - items * delta) / math.sqrt(items * (2 * p + delta * (1 - delta)))

    value = (gained - lost) / items
    return optimize.brentq(lambda delta: statistic(delta) + side * CRITICAL, value + side * 1e-9, value + side * 0.6)


@pytest.mark.parametrize(("items", "lost", "gained"), [(1000, 16, 10), (500, 1, 1), (2000, 80, 64), (1000, 6, 0), (300, 0, 7)])
def test_the_interval_is_tangos_or_wider_where_flips_are_few_and_skewed(items, lost, gained):
    found = paired_difference(flipped(items, lost, gained))
    low, high = (tango(items, lost, gained, side) for side in (-1, 1))
    assert found.low <= low + 1e-5
    assert found.high >= high - 1e-5
    wide = 1.01 if min(lost, gained) > 0 else 1.07
    assert found.high - found.low <= wide * (high - low)


def test_difference_agrees_with_the_analytic_error():
    rng = np.random.default_rng(3)
    base = (rng.random(2000) < 0.6).astype(float)
    score = np.where(rng.random(2000) < 0.1, 1 - base, base)
    found = paired_difference(Paired(base, score))
    half = CRITICAL * standard_error(score - base)
    assert found.value == pytest.approx(np.mean(score - base))
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.01)


@pytest.mark.parametrize("items", [20, 200, 2000])
def test_no_flips_do_not_prove_that_there_are_none(items):
    ones = np.ones(items)
    found = paired_difference(Paired(ones, ones))
    assert found.value == 0
    # the rule of three at 2.5 % a side is 3.69/n: so many flips stay unseen with that probability
    assert found.high == pytest.approx(1 - 0.025 ** (1 / items), rel=0.1)
    assert found.low == -found.high
    kept = recovery([Paired(ones, ones)]).estimate
    assert (kept.low, kept.high) == pytest.approx((100 + 100 * found.low, 100 + 100 * found.high), abs=1e-3)


@pytest.mark.parametrize(("base", "score", "value"), [(1, 1, 0), (1, 0, -1), (0, 1, 1), (0, 0, 0)])
def test_one_item_says_nothing_beyond_what_is_possible(base, score, value):
    found = paired_difference(paired([(base, score)]))
    assert found.value == value
    assert -1 <= found.low <= -0.5 or value == 1
    assert 0.5 <= found.high <= 1 or value == -1
    assert found.low <= value <= found.high


def test_no_flip_in_clusters_says_no_more_than_so_many_clusters():
    ones = np.ones(2000)
    kept = recovery([Paired(ones, ones, 0.0, tuple(np.repeat(np.arange(10), 200)))])
    assert kept.unseen_loss == pytest.approx(100 * (1 - 0.025**0.1))
    assert kept.estimate.low == pytest.approx(100 - kept.unseen_loss, abs=2)
    assert not kept.shown_above(90)
    assert kept.shown_above(65)


def test_one_cluster_for_all_items_shows_nothing():
    rows = [(1, 1)] * 300 + [(1, 0)] * 100
    kept = recovery([paired(rows, cluster=("same",) * 400)])
    assert not kept.shown_above(5)
    assert not kept.shown_below(100)


@settings(max_examples=25, deadline=None)
@given(BINARY)
def test_swapping_base_and_candidate_flips_the_sign(rows):
    there = paired_difference(paired(rows))
    back = paired_difference(paired([(score, base) for base, score in rows]))
    assert (there.value, there.low, there.high) == pytest.approx((-back.value, -back.high, -back.low), abs=1e-5)


@settings(max_examples=25, deadline=None)
@given(BINARY, st.randoms())
def test_the_order_of_items_does_not_matter(rows, random):
    shuffled = list(rows)
    random.shuffle(shuffled)
    assert paired_difference(paired(rows)) == paired_difference(paired(shuffled))


@settings(max_examples=25, deadline=None)
@given(BINARY)
def test_a_cluster_for_each_item_changes_nothing(rows):
    each = tuple(range(len(rows)))
    assert paired_difference(paired(rows, cluster=each)) == paired_difference(paired(rows))


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
    assert found.p_below(found.estimate.low) == pytest.approx(0.025, abs=1e-5)
    assert found.p_above(found.estimate.high) == pytest.approx(0.025, abs=1e-5)
    assert found.p_below(found.estimate.high) == 1.0


def test_the_p_value_knows_of_clusters_that_were_not_seen():
    ones = np.ones(2000)
    found = recovery([Paired(ones, ones, 0.0, tuple(np.repeat(np.arange(10), 200)))])
    assert found.p_below(90) == pytest.approx(0.9**10, rel=1e-6)
    assert found.p_below(100 - found.unseen_loss) == pytest.approx(0.025, rel=1e-6)


def test_a_candidate_that_has_lost_all():
    base = np.repeat([1.0, 0.0], [600, 400])
    found = recovery([Paired(base, np.zeros(1000))]).estimate
    assert found.value == 0
    assert found.low < 0 < found.high < 1


def test_recovery_below_nothing_where_the_candidate_is_worse_than_guessing():
    base = np.repeat([1.0, 0.0], [600, 400])
    found = recovery([Paired(base, 1 - base, 0.5)]).estimate
    assert found.value == pytest.approx(-100)
    assert found.low < -100 < found.high < 0


def test_a_task_without_flips_beside_others_with_some_does_not_widen_the_suite_by_its_clusters():
    quiet = Paired(np.ones(200), np.ones(200), 0.0, tuple(np.repeat(np.arange(5), 40)))
    rows = [(1, 1)] * 190 + [(1, 0)] * 5 + [(0, 1)] * 5
    other = paired(rows, cluster=tuple(np.tile(np.arange(5), 40)))
    together, alone = recovery([quiet, other]), recovery([quiet])
    assert alone.by_clusters
    assert not together.by_clusters
    assert together.estimate.high - together.estimate.low < 10
    assert together.unseen_loss > 30
    assert not together.shown_above(90)
