from __future__ import annotations

import numpy as np
import pytest

from whichbits.serving.distribution import distribution, minimum_samples, order_interval, percentile


def test_floors_are_those_of_loadgen():
    assert [minimum_samples(p) for p in (50, 90, 95, 99)] == [7, 44, 90, 459]


def test_p99_is_refused_under_459_samples():
    assert percentile(list(range(458)), 99) is None
    assert percentile(list(range(459)), 99) is not None


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


def test_distribution_by_hand():
    found = distribution([3.0, 1.0, 2.0, 4.0, 5.0, 6.0, 7.0])
    assert found is not None
    assert (found.n, found.mean) == (7, 4.0)
    assert found.percentiles["50"] is not None
    assert found.percentiles["50"].value == 4.0
    assert found.percentiles["90"] is None
    assert distribution([]) is None
