import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from whichbits.verdict.round_statistics import (
    Sides,
    best_ratio,
    best_value,
    half_width,
    mean_of_requests,
    rounds_to_decide,
    units_of,
    welch,
)

NOTHING = np.zeros(1), np.ones(1)


UPPER = 1 - 0.9 * 0.025
"""Quantile of an interval at 95 %: a tenth of the error is kept back."""


def sides(logs, allowed=None):
    """A side of a comparison of which nothing is known within rounds; `logs` (loads, rounds)."""
    array = np.array(logs, dtype=float)
    return Sides(array, np.zeros_like(array), np.ones_like(array), None if allowed is None else np.array(allowed, dtype=float))


def test_half_width_of_three_rounds_by_hand():
    logs = np.log([1.1, 1.2, 1.3])
    expected = stats.t.ppf(UPPER, 2) * np.std(logs, ddof=1) / math.sqrt(3)
    assert half_width(logs, *NOTHING, 0.95) == pytest.approx(expected)


def test_one_round_has_no_width():
    assert half_width(np.array([0.3]), np.array([1e-4]), np.array([9.0]), 0.95) == math.inf


def test_rounds_that_agree_by_luck_are_no_narrower_than_their_requests_allow():
    # two sides of three rounds, 2 % each with 9 degrees of freedom: √6 · 0.02 / 3 with Satterthwaite's 54
    variances, degrees = np.full(6, 0.02**2), np.full(6, 9.0)
    expected = stats.t.ppf(UPPER, 54) * math.sqrt(6) * 0.02 / 3
    assert half_width(np.full(3, 0.1), variances, degrees, 0.95) == pytest.approx(expected)
    spread = half_width(np.array([0.0, 0.1, 0.2]), variances, degrees, 0.95)
    assert spread == pytest.approx(stats.t.ppf(UPPER, 2) * 0.1 / math.sqrt(3))


def test_satterthwaite_of_unequal_errors():
    variances, degrees = np.array([4e-4, 1e-4]), np.array([3.0, 9.0])
    expected = 5e-4**2 / (4e-4**2 / 3 + 1e-4**2 / 9)
    found = half_width(np.zeros(2), variances, degrees, 0.95)
    assert found == pytest.approx(stats.t.ppf(UPPER, expected) * math.sqrt(5e-4) / 2)


def test_requests_in_flight_together_count_once():
    values = np.array([1.0, 1.2] * 20)
    alone, together = mean_of_requests(values, 1), mean_of_requests(values, 4)
    assert alone.value == pytest.approx(1.1)
    assert together.relative_error == pytest.approx(2 * alone.relative_error)
    assert alone.relative_error == pytest.approx(stats.sem(values) / 1.1)
    assert (alone.degrees, together.degrees) == (39, 9)


def test_each_side_is_taken_at_its_own_best_load():
    above = sides([[1.0, 1.1, 1.2], [2.0, 2.1, 2.2]])
    below = sides([[0.5, 0.6, 0.7], [0.1, 0.2, 0.3]])
    found = best_ratio(above, below, level=0.95)
    assert (int(found.above), int(found.below)) == (1, 0)
    assert float(found.value) == pytest.approx(1.5)


def test_each_end_spans_the_best_load_of_the_other_side():
    # own best loads: 0 and 1, ratio −0.03; both at load 1: −0.04, at load 0: 0.01; rounds too noisy to tell the loads apart
    noise = np.array([0.0, 0.1, -0.1])
    above, below = sides([noise + 0.01, noise[::-1]]), sides([noise, noise[[1, 0, 2]] + 0.04])
    found = best_ratio(above, below, level=0.95)
    own, at_belows = (noise + 0.01) - (noise[[1, 0, 2]] + 0.04), noise[::-1] - (noise[[1, 0, 2]] + 0.04)
    at_aboves = noise + 0.01 - noise
    ends = [(d.mean(), half_width(d, *NOTHING, 0.95)) for d in (own, at_belows, at_aboves)]
    assert float(found.value) == pytest.approx(-0.03)
    assert float(found.low) == pytest.approx(min(mean - half for mean, half in ends[:2]))
    assert float(found.high) == pytest.approx(max(mean + half for mean, half in (ends[0], ends[2])))


def test_where_no_load_is_good_for_both_each_end_holds_for_all_that_are_as_good():
    # above is alike at loads 0 and 1, below is best at 2: low at 1 − 0.05 / 2, high at 1 − 0.05 / 1
    rng = np.random.default_rng(3)
    noise = rng.normal(0, 0.01, (2, 3, 5))
    above, below = sides(noise[0] + [[0.0], [0.0], [-0.5]]), sides(noise[1] + [[-0.5], [-0.5], [0.0]])
    found = best_ratio(above, below, level=0.95)
    difference = above.at(found.above)[0] - below.at(found.below)[0]
    assert int(found.below) == 2
    assert float(found.value - found.low) == pytest.approx(float(half_width(difference, *NOTHING, 0.975)))
    assert float(found.high - found.value) == pytest.approx(float(half_width(difference, *NOTHING, 0.95)))


def test_where_one_load_is_best_for_both_the_interval_is_students():
    logs = np.array([0.0, 0.1, 0.05])
    found = best_ratio(sides([logs - 1, logs]), sides([np.zeros(3) - 1, np.zeros(3)]), level=0.95)
    half = half_width(logs, *NOTHING, 0.95)
    assert (found.high - found.value, found.value - found.low) == pytest.approx((half, half))


def test_loads_outside_the_limits_are_not_chosen():
    above, below = sides([[1.0, 1.0], [2.0, 2.0]], allowed=[1, 0]), sides([[1.0, 1.0], [2.0, 2.0]], allowed=[0, 1])
    found = best_ratio(above, below, level=0.95)
    assert (int(found.above), int(found.below), float(found.value)) == (0, 1, -1.0)
    assert float(found.low) == -1.0  # no load is allowed to both, so there is none to span


@given(st.lists(st.lists(st.floats(-1, 1), min_size=3, max_size=3), min_size=4, max_size=4))
def test_swapping_the_sides_inverts_the_ratio(rows):
    one, other = sides(rows[:2]), sides(rows[2:])
    there, back = best_ratio(one, other, level=0.95), best_ratio(other, one, level=0.95)
    assert (there.value, there.low, there.high) == pytest.approx((-back.value, -back.high, -back.low))
    assert there.low <= there.value <= there.high


def test_many_at_once_are_each_as_one_alone():
    rng = np.random.default_rng(1)
    logs = rng.normal(size=(2, 7, 3, 4))
    nothing = np.zeros_like(logs[0]), np.ones_like(logs[0])
    together = best_ratio(Sides(logs[0], *nothing), Sides(logs[1], *nothing), level=0.95)
    for run in range(7):
        alone = best_ratio(sides(logs[0, run]), sides(logs[1, run]), level=0.95)
        assert float(together.low[run]) == pytest.approx(float(alone.low))
        assert float(together.high[run]) == pytest.approx(float(alone.high))


def test_the_best_value_spans_the_load_that_is_best_for_all():
    side = sides([[0.02, 0.02, 0.02], [0.0, 0.0, 0.0]])
    value, low, high, chosen = best_value(side, np.array([0.0, 1.0]), level=0.95)
    assert (float(value), float(low), float(high), int(chosen)) == pytest.approx((0.02, 0.0, 0.02, 0))
    _, low, _, _ = best_value(side, np.full(2, -np.inf), level=0.95)
    assert float(low) == 0.02


def test_welch_is_scipys():
    rng = np.random.default_rng(0)
    first, second = rng.normal(0.3, 0.1, 4), rng.normal(0.1, 0.3, 4)
    difference, half = welch(first, second, level=0.95)
    expected = stats.ttest_ind(first, second, equal_var=False).confidence_interval(1 - 0.9 * 0.05)
    assert (difference - half, difference + half) == pytest.approx((expected.low, expected.high))
    assert welch(first, second[:1], level=0.95)[1] == math.inf


def test_many_rounds_on_one_side_do_not_make_up_for_few_on_the_other():
    rng = np.random.default_rng(5)
    covered = [abs(d) <= half for d, half in (welch(rng.normal(size=2), rng.normal(size=10), level=0.95) for _ in range(2000))]
    assert 0.96 <= np.mean(covered) <= 0.99


def test_rounds_to_decide():
    logs = np.log([1.02, 1.10, 1.18])
    needed = rounds_to_decide(logs, level=0.95)
    assert needed is not None
    power = [
        stats.nct.sf(stats.t.ppf(UPPER, n - 1), n - 1, logs.mean() / logs.std(ddof=1) * math.sqrt(n))
        for n in (needed - 1, needed, needed + 1)
    ]
    assert power[0] < 0.85 and power[2] > 0.78
    assert rounds_to_decide(np.zeros(3), level=0.95) is None
    assert rounds_to_decide(np.array([-1.0, 1.0000001]), level=0.95) is None


@pytest.mark.parametrize("rounds", [2, 3, 5, 10])
@pytest.mark.parametrize("spread", [0.01, 0.06])
def test_the_ratio_covers_and_faster_is_claimed_as_rarely_as_stated(rounds, spread):
    # true ratio 1.00 at every load of a ladder that saturates; the larger simulation is benchmarks/verdict/speed.py
    rng = np.random.default_rng(rounds)
    profile = np.log([0.5, 0.75, 0.9, 0.97, 1.0])[:, None]
    logs = profile + rng.normal(0, spread, size=(2, 4000, 5, rounds))
    nothing = np.zeros_like(logs[0]), np.ones_like(logs[0])
    found = best_ratio(Sides(logs[0], *nothing), Sides(logs[1], *nothing), level=0.95)
    assert 0.94 <= np.mean((found.low <= 0) & (found.high >= 0)) <= 0.99
    assert np.mean(found.low > 0) <= 0.0325
    assert np.mean(found.high < 0) <= 0.0325


def test_from_three_starts_on_a_start_is_one_observation():
    assert units_of(["a", "a", "b"]) == ((0,), (1,), (2,))
    assert units_of(["a", "b", "a", "c"]) == ((0, 2), (1,), (3,))
    made = Sides(np.array([[1.0, 2, 3, 4]]), np.array([[0.4, 1, 0.4, 3]]), np.array([[9.0, 1, 9, 2]])).by_unit(((0, 2), (1,)))
    assert made.logs.tolist() == [[2.0, 2.0]]
    assert made.variances.tolist() == [[pytest.approx(0.2), 1.0]]
    assert made.degrees.tolist() == [[18.0, 1.0]]


@pytest.mark.parametrize("starts", [0.0, 0.03, 0.06])
def test_intervals_hold_what_starts_give_by_chance(starts):
    """Three rounds of one start, and three of a start each."""
    keys, runs, rng = [0, 0, 0, 1, 2, 3], 8000, np.random.default_rng(0)
    logs = (rng.normal(0, starts, (runs, 4))[:, keys] + rng.normal(0, 0.03, (runs, 6)))[:, None, :]
    whole = Sides(logs, np.zeros_like(logs), np.ones_like(logs))

    def covered(side):
        logs = side.logs[:, 0]
        return np.mean(np.abs(logs.mean(axis=-1)) <= half_width(logs, np.zeros_like(logs), np.ones_like(logs), 0.95))

    error = 4 * math.sqrt(0.05 * 0.95 / runs)
    assert covered(whole.by_unit(units_of(keys))) >= 0.95 - error
    if starts > 0.03:
        assert covered(whole) < 0.95 - error, "the interval over rounds does not"
