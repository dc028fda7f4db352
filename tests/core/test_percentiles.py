from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from whichbits.core.percentiles import binomial_quantile, minimum_samples, order_interval


def test_floors_are_those_of_loadgen():
    assert [minimum_samples(p) for p in (50, 90, 95, 99)] == [7, 44, 90, 459]


@pytest.mark.parametrize("n", [1, 2, 7, 80, 459, 3000, 100_000])
@pytest.mark.parametrize("share", [0.5, 0.9, 0.95, 0.99])
def test_the_binomial_quantile_is_scipys(n, share):
    for probability in (0.025, 0.5, 0.975):
        assert binomial_quantile(probability, n, share) == binom.ppf(probability, n, share)


def test_median_interval_is_that_of_the_sign_test():
    """n = 10: the 2nd and 9th order statistics, the textbook 97.9 % interval of a median."""
    assert order_interval([float(i) for i in range(1, 11)], 50) == (2.0, 9.0)


def test_interval_without_an_upper_order_statistic():
    low, high = order_interval([1.0, 2.0, 3.0], 99)
    assert high is None
    assert low == 2.0 or low == 3.0


@pytest.mark.parametrize("at", [50, 90, 95])
def test_interval_covers(at):
    generator = np.random.default_rng(0)
    truth = -np.log(1 - at / 100)
    covered = 0
    for _ in range(2000):
        low, high = order_interval(generator.exponential(size=150).tolist(), at)
        covered += low <= truth and (high is None or truth <= high)
    assert covered / 2000 > 0.94
