from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whichbits.core.crossing import Point, bracket, crossing, near


def test_bracket() -> None:
    assert bracket([]) == (0.0, inf)
    assert bracket([Point(2, 0.5), Point(3, 0.9), Point(5, 1.0), Point(4, inf)]) == (3, 4)
    assert bracket([Point(2, 1.1), Point(3, 0.9)]) == (3, 2), "noise may exchange them"


def test_near_are_the_points_within_a_fifth_of_the_middle() -> None:
    points = [Point(rate, rate / 10) for rate in (5, 9.5, 10.5, 12.5)]
    assert [point.rate for point in near(points)] == [9.5, 10.5]


@given(st.floats(0.01, 1000), st.floats(0.2, 3.5))
def test_the_crossing_of_a_power_of_the_rate_is_found(rate: float, slope: float) -> None:
    points = [Point(rate * factor, factor**slope) for factor in (0.95, 0.98, 1.01, 1.04)]
    assert crossing(points) == pytest.approx(rate)


def test_a_line_that_falls_or_has_one_rate_crosses_nowhere() -> None:
    assert crossing([Point(2, 1.1), Point(3, 0.9)]) is None
    assert crossing([Point(2, 0.9), Point(2, 1.1)]) is None
    assert crossing([]) is None


def test_a_point_beyond_the_knee_says_above_and_no_more() -> None:
    assert Point(3, inf).logs[1] == Point(3, 50).logs[1] == 0.2
    assert Point(3, 0.0).logs[1] == -0.2
