import numpy as np
import pytest
from scipy.special import ndtr, ndtri

from whichbits.verdict.early_stopping.group_sequential import GroupSequential
from whichbits.verdict.statistics import KEPT

FIVE = GroupSequential([0.2, 0.4, 0.6, 0.8, 1.0])


def test_a_level_is_that_of_its_boundary():
    levels = [FIVE.level(look) for look in range(1, 6)]
    assert levels == pytest.approx(2 * ndtr([4.8769, 3.3570, 2.6803, 2.2898, 2.0310]) - 1, abs=1e-5)


def test_the_chance_to_decide_is_that_of_going_on():
    rng = np.random.default_rng(0)
    z, share = 1.2, 0.4
    drift = z / np.sqrt(share) + rng.normal(size=200_000) / np.sqrt(share)
    last = z * np.sqrt(share) + drift * (1 - share) + rng.normal(size=200_000) * np.sqrt(1 - share)
    at_last = (1 - FIVE.level(5)) / 2 * KEPT
    beyond = -ndtri(at_last)
    assert FIVE.chance_to_decide(2, z) == pytest.approx(np.mean(np.abs(last) > beyond), abs=0.004)


def test_the_last_look_decides_or_not():
    assert [FIVE.chance_to_decide(5, z) for z in (2.0, 2.1, -2.1)] == [0.0, 1.0, 1.0]


def test_going_on_is_futile_where_neither_side_is_likely():
    assert [FIVE.futile(3, z) for z in (0.0, 2.0, -2.0)] == [True, False, False]
    assert not FIVE.futile(1, 0.0)
    assert not GroupSequential(FIVE.information, futility=0).futile(4, 0.0)


def test_a_p_value_is_the_smallest_error_that_rejects():
    for look in (1, 3, 5):
        p = (1 - FIVE.level(look)) / 2
        assert FIVE.p_value(look, p) == pytest.approx(0.025, rel=2e-3)
        assert FIVE.p_value(look, p / 10) < 0.025 < FIVE.p_value(look, 2 * p)
    assert FIVE.p_value(5, 0.95) == 1.0


def test_one_look_changes_nothing():
    one = GroupSequential([1.0])
    assert one.level(1) == pytest.approx(0.95)
    assert one.p_value(1, 0.01) == pytest.approx(0.01, rel=1e-3)
