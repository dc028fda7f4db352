import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whichbits.reporting import numbers
from whichbits.verdict.estimates import Estimate, SingleRound


def estimate(value: float, low: float, high: float) -> Estimate:
    return Estimate(value=value, low=low, high=high)


@pytest.mark.parametrize(
    ("value", "low", "high", "unit", "text"),
    [
        (101.23, 99.81, 102.63, "%", "101.2 % (99.8 – 102.6)"),
        (100.6, 96.51, 104.69, "%", "100.6 % (96.5 – 104.7)"),
        (97.0, 62.0, 132.0, "%", "97 % (62 – 132)"),
        (1.4213, 1.3861, 1.4569, "×", "1.42× (1.39 – 1.46)"),
        (0.1, -0.3, 0.5, "points", "0.1 points (−0.3 to 0.5)"),
        (32518.0, 31618.0, 33418.0, "", "32,520 (31,620 – 33,420)"),
        (0.0041, 0.0037, 0.0045, "nats", "0.0041 nats (0.0037 – 0.0045)"),
        (0.5, 0.5, 0.5, "s", "0.500 s (0.500 – 0.500)"),
    ],
)
def test_interval_has_the_digits_that_its_width_allows(value, low, high, unit, text):
    assert numbers.interval(estimate(value, low, high), unit) == text


def test_scale_multiplies_all_three():
    assert numbers.interval(estimate(-0.012, -0.034, 0.01), "points", scale=100) == "−1.2 points (−3.4 to 1.0)"


def test_an_end_beside_the_bound_is_told_from_it():
    assert numbers.interval(estimate(99.33, 97.444, 101.27), "%", bound=97.4) == "99.33 % (97.44 – 101.27)"
    assert numbers.interval(estimate(99.33, 97.4, 101.27), "%", bound=97.4) == "99.3 % (97.4 – 101.3)"
    assert numbers.interval(estimate(99.33, 97.4 - 1e-12, 101.27), "%", bound=97.4).endswith("– 101.3)")


def test_seconds_below_one_are_printed_in_milliseconds():
    assert numbers.seconds_interval(estimate(0.0345, 0.0331, 0.0359)) == "34.5 ms (33.1 – 35.9)"
    assert numbers.seconds_interval(estimate(1.63, 1.57, 1.69)) == "1.63 s (1.57 – 1.69)"


def test_what_is_not_finite_is_said_so():
    assert numbers.interval(estimate(math.nan, -math.inf, math.inf)) == "undefined (−∞ to ∞)"


@given(st.floats(1e-5, 1e6), st.floats(-1e6, 1e6))
def test_rounding_moves_no_number_by_more_than_a_sixth_of_the_half_width(half, value):
    digits = numbers.decimals(half)
    if digits < numbers.MAX_DECIMALS:
        assert abs(round(value, digits) - value) <= 0.17 * half + 1e-9


@given(st.floats(-1e9, 1e9, allow_nan=False), st.integers(-3, 6))
def test_fixed_can_be_read_back(value, digits):
    read = float(numbers.fixed(value, digits).replace(",", "").replace("−", "-"))
    assert read == round(value, digits)


def test_minus_zero_has_no_sign():
    assert numbers.fixed(-0.0004, 2) == "0.00"


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1500, "1.50 kB"), (269_060_552, "269 MB"), (16_060_000_000, "16.1 GB")]
)
def test_byte_size(count, text):
    assert numbers.byte_size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(4.23, "4.2 s"), (59.4, "59 s"), (760, "12 min 40 s"), (3599.7, "1 h 00 min"), (3930, "1 h 05 min")]
)
def test_duration(seconds, text):
    assert numbers.duration(seconds) == text


def test_a_ratio_of_speeds_is_told_from_one():
    assert numbers.times(estimate(1.42, 1.385, 1.455)) == "1.42× (1.39 – 1.46)"
    assert numbers.times(estimate(1.05, 1.0004, 1.102)) == "1.0500× (1.0004 – 1.1020)"
    assert numbers.times(SingleRound(value=1.4217)) == "1.42× (one round)"
    assert numbers.drawn(SingleRound(value=1.4)) == estimate(1.4, 1.4, 1.4)
