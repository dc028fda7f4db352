import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from whichbits.verdict.statistics import (
    cluster_sums,
    discordance,
    holm,
    log_interval,
    mean_of_requests,
    quantile_interval,
    resolvable,
    standard_error,
    t_quantile,
    z_quantile,
)


def test_discordance_counts_both_directions():
    base = np.array([1.0, 1.0, 0.0, 0.0, 1.0])
    score = np.array([1.0, 0.0, 1.0, 0.0, 0.0])
    found = discordance(base, score)
    assert (found.lost, found.gained, found.flips) == (2, 1, 0.6)


def test_quantiles_of_normal_and_student():
    assert z_quantile(0.95) == pytest.approx(stats.norm.ppf(0.975))
    assert t_quantile(0.95, 2) == pytest.approx(stats.t.ppf(0.975, 2))
    assert resolvable(1.0) == pytest.approx(stats.norm.ppf(0.975) + stats.norm.ppf(0.8))


def test_standard_error_without_clusters_is_the_usual_one():
    values = np.array([0.0, 1.0, 1.0, 0.0, 1.0, -1.0])
    assert standard_error(values) == pytest.approx(stats.sem(values))
    assert standard_error(values, list("abcdef")) == pytest.approx(stats.sem(values))


def test_standard_error_of_clusters_by_hand():
    # mean 0.5; cluster sums of deviations: a +1, b −1; √(2/1 · (1 + 1)) / 4 = 0.5
    assert standard_error(np.array([1.0, 1.0, 0.0, 0.0]), ["a", "a", "b", "b"]) == pytest.approx(0.5)


def test_a_single_cluster_has_no_standard_error():
    assert standard_error(np.array([1.0, 0.0]), ["a", "a"]) == math.inf


def test_cluster_sums_of_columns():
    sums = cluster_sums(np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), ["x", "y", "x"])
    assert sums.tolist() == [[6.0, 8.0], [3.0, 4.0]]


def test_holm_by_hand():
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06})


@given(st.dictionaries(st.text(min_size=1), st.floats(0, 1), min_size=1, max_size=8))
def test_holm_never_lowers_and_keeps_the_order(p_values):
    adjusted = holm(p_values)
    assert all(p_values[name] <= adjusted[name] <= 1 for name in p_values)
    by_p = sorted(p_values, key=lambda name: p_values[name])
    assert [adjusted[name] for name in by_p] == sorted(adjusted.values())


def test_quantile_interval_needs_enough_values():
    # 0.95⁷¹ > 0.025 ≥ 0.95⁷²: with fewer than 72 values even the largest may well lie under the 95th percentile
    assert quantile_interval(np.arange(71.0), 0.95) is None
    assert quantile_interval(np.arange(72.0), 0.95) is not None


def test_quantile_interval_covers():
    rng = np.random.default_rng(1)
    true = stats.expon.ppf(0.5)
    hits = 0
    for _ in range(2000):
        found = quantile_interval(rng.exponential(size=40), 0.5)
        assert found is not None
        hits += found[1] <= true <= found[2]
    assert 0.945 <= hits / 2000 <= 0.985  # exact coverage of the ranks is 0.9615


def test_quantile_interval_ranks_are_those_of_the_binomial():
    found = quantile_interval(np.arange(1.0, 41.0), 0.5)
    assert found is not None
    # for n = 40 the median lies between the 14th and the 27th value with probability 0.9615
    assert found[1:] == (14.0, 27.0)
    assert stats.binom.cdf(26, 40, 0.5) - stats.binom.cdf(13, 40, 0.5) == pytest.approx(0.9615, abs=1e-4)


def test_log_interval_of_three_rounds_by_hand():
    logs = [math.log(1.1), math.log(1.2), math.log(1.3)]
    value, low, high = log_interval(logs, [0.0, 0.0, 0.0])
    half = stats.t.ppf(0.975, 2) * np.std(logs, ddof=1) / math.sqrt(3)
    assert value == pytest.approx((1.1 * 1.2 * 1.3) ** (1 / 3))
    assert (low, high) == pytest.approx((value * math.exp(-half), value * math.exp(half)))


def test_rounds_that_agree_by_luck_are_no_narrower_than_their_own_errors():
    value, low, high = log_interval([0.1, 0.1, 0.1], [0.02, 0.02, 0.02])
    assert math.log(high / value) == pytest.approx(stats.t.ppf(0.975, 2) * 0.02 / math.sqrt(3))
    assert low < value < high


def test_one_round_is_as_wide_as_the_t_of_one_degree_of_freedom():
    value, _, high = log_interval([0.0], [0.01])
    assert value == 1
    assert math.log(high) == pytest.approx(12.706 * 0.01, rel=1e-3)


def test_requests_in_flight_together_count_once():
    values = np.array([1.0, 1.2] * 20)
    alone, together = mean_of_requests(values, 1), mean_of_requests(values, 4)
    assert alone.value == pytest.approx(1.1)
    assert together.relative_error == pytest.approx(2 * alone.relative_error)
    assert alone.relative_error == pytest.approx(stats.sem(values) / 1.1)


def test_log_interval_covers():
    rng = np.random.default_rng(2)
    logs = rng.normal(0.2, 0.1, size=(4000, 3))
    hits = [low <= math.exp(0.2) <= high for _, low, high in (log_interval(row, [0.0] * 3) for row in logs)]
    assert np.mean(hits) == pytest.approx(0.95, abs=0.015)
