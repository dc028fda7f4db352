import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from whichbits.verdict.statistics import (
    cluster_sums,
    detectable,
    discordance,
    holm,
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
    assert detectable(1.0) == pytest.approx(stats.norm.ppf(0.975) + stats.norm.ppf(0.8))


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
