import numpy as np
import pytest
from scipy import stats

from whichbits.verdict.resampling import ratio_of_sums, resample_sums


def test_resampled_sums_have_the_moments_of_the_bootstrap():
    units = np.array([[0.0], [1.0], [1.0], [4.0]])
    sums = resample_sums(units, np.random.default_rng(0), 40_000)
    assert sums.shape == (40_000, 1)
    assert sums.mean() == pytest.approx(6.0, rel=0.01)
    assert sums.var() == pytest.approx(4 * np.var([0, 1, 1, 4]), rel=0.03)


def test_ratio_of_sums_of_a_mean_agrees_with_the_t_interval():
    values = np.random.default_rng(7).normal(0.8, 0.1, size=60)
    found = ratio_of_sums(values, np.ones(60))
    reference = stats.t.interval(0.95, 59, loc=values.mean(), scale=stats.sem(values))
    assert (found.low, found.high) == pytest.approx(reference, abs=0.002)


def test_ratio_of_sums_weighs_windows_by_their_tokens():
    found = ratio_of_sums(np.array([10.0, 1.0]), np.array([100.0, 1.0]))
    assert found.value == pytest.approx(11 / 101)
