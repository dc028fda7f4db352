import math

from hypothesis import given
from hypothesis import strategies as st

from whichbits.reporting.scale import around, from_zero, linear
from whichbits.verdict.estimates import Estimate


@given(st.floats(-1e4, 1e4), st.floats(1e-3, 1e4))
def test_ticks_are_even_few_and_on_the_axis(low, width):
    scale = linear(low, low + width)
    steps = [b - a for a, b in zip(scale.ticks, scale.ticks[1:], strict=False)]
    assert 1 <= len(scale.ticks) <= 8
    assert all(math.isclose(s, steps[0], rel_tol=1e-3) for s in steps)
    assert all(scale.low - width / 1e3 <= t <= scale.high + width / 1e3 for t in scale.ticks)


def test_ticks_are_round():
    assert linear(84.1, 105.3).ticks == (85.0, 90.0, 95.0, 100.0, 105.0)


def test_an_axis_of_one_value_has_a_width():
    scale = linear(3.0, 3.0)
    assert scale.low < 3.0 < scale.high


def test_position_stays_on_the_axis():
    scale = linear(0, 10)
    assert (scale.x(-5), scale.x(5), scale.x(50)) == ("1.50%", "50.00%", "98.50%")


def test_one_wide_interval_does_not_squeeze_the_others():
    narrow = [Estimate(value=99, low=98, high=100)] * 5
    scale = around([*narrow, Estimate(value=99, low=0, high=300)])
    assert scale.low > 94
    assert scale.high < 104


def test_what_is_not_finite_does_not_set_the_axis():
    scale = around([Estimate(value=math.nan, low=-math.inf, high=math.inf), Estimate(value=1, low=0.9, high=1.1)])
    assert math.isfinite(scale.low)
    assert math.isfinite(scale.high)


def test_an_axis_from_zero_holds_all_values():
    scale = from_zero([Estimate(value=2, low=1, high=3), Estimate(value=5, low=4, high=6)])
    assert scale.low == 0
    assert scale.holds(6)
