from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whichbits.schema.workload import Ramp
from whichbits.serving.traffic.arrivals import Arrivals, Even, Growing, Random, Recorded


@pytest.mark.parametrize("burstiness", [0.25, 1.0, 4.0])
def test_gaps_have_the_rate_and_the_variation_of_their_burstiness(burstiness: float) -> None:
    gaps = np.diff(Random(5.0, burstiness).times(200_000, seed=3), prepend=0)
    assert gaps.mean() == pytest.approx(1 / 5, rel=0.02)
    assert gaps.std() / gaps.mean() == pytest.approx(burstiness**-0.5, rel=0.02)


def test_poisson_arrivals_are_those_of_exponential_gaps() -> None:
    """As before there were others, so that a study's rounds go on with the same arrivals."""
    expected = np.cumsum(np.random.default_rng(7).exponential(1 / 2.5, 110))
    assert Random(2.5).times(110, seed=7) == pytest.approx(expected, rel=1e-15)


def test_even_gaps() -> None:
    assert Even(4.0).times(3, seed=1).tolist() == [0.25, 0.5, 0.75]


@pytest.mark.parametrize(("begin", "end"), [(2.0, 10.0), (10.0, 2.0), (6.0, 6.0)])
def test_a_ramp_has_its_rate_at_each_moment(begin: float, end: float) -> None:
    ramp = Growing(Ramp(begin=begin, end=end, seconds=10_000.0))
    assert (ramp.rate, ramp.requests) == (6.0, 60_000)
    times = ramp.times(ramp.requests, seed=1)
    counts, _ = np.histogram(times, bins=10, range=(0, 10_000))
    middles = begin + (end - begin) * (np.arange(10) + 0.5) / 10
    assert counts[:9] == pytest.approx(1000 * middles[:9], rel=0.07)  # three standard deviations and more


def test_a_log_is_replayed_from_its_first_request() -> None:
    log = Recorded((0.0, 1.0, 4.0, 5.0))
    assert log.rate == 0.6
    assert log.times(3, seed=9).tolist() == [0.0, 1.0, 4.0]


ALL = [Random(3.0, 0.1), Random(0.01), Even(9.0), Growing(Ramp(begin=9, end=1e-3, seconds=5))]


@given(st.sampled_from(ALL), st.integers(0, 99))
def test_arrivals_ascend_and_the_first_ones_are_the_same_however_many_follow(arrivals: Arrivals, seed: int) -> None:
    times = arrivals.times(50, seed)
    assert (np.diff(times) >= 0).all() and times[0] >= 0 and np.isfinite(times).all()
    assert arrivals.times(20, seed).tolist() == times[:20].tolist()
