import re
from itertools import pairwise

from whichbits.reporting.plot import Point, Sweep, SweepPoint, frontier, scatter, sweep
from whichbits.reporting.scale import linear
from whichbits.reporting.strip import Mark, interval_strip
from whichbits.verdict.estimates import Estimate


def exactly(value: float) -> Estimate:
    return Estimate(value=value, low=value, high=value)


def point(x: float, y: float) -> Point:
    return Point(exactly(x), exactly(y), "s1", f"{x}", "")


def test_frontier_holds_what_no_other_beats_in_both():
    points = [point(1.0, 100), point(1.4, 99), point(1.2, 97), point(1.8, 90), point(0.9, 99)]
    assert [p.name for p in frontier(points)] == ["1.0", "1.4", "1.8"]


def test_labels_of_close_points_stand_apart():
    html = scatter([point(1.0, 99.0), point(1.1, 99.01), point(1.2, 99.02)], linear(0, 2), linear(90, 100), margin=95, label="")
    heights = sorted(float(y) for y in re.findall(r'class="name"[^>]* y="([-\d.]+)"', html))
    assert min(b - a for a, b in pairwise(heights)) >= 15


def test_no_line_joins_an_invalid_value():
    valid = [True, True, False, True]
    points = tuple(SweepPoint(i, exactly(1.0), ok, "") for i, ok in enumerate(valid))
    html = sweep([Sweep("a", "s1", points)], ["1", "2", "4", "8"], linear(0, 2), unit="s", label="")
    assert html.count('class="join') == 1
    assert html.count("cross") == 1


def test_a_row_shows_where_its_interval_leaves_the_axis():
    scale = linear(90, 110)
    inside = interval_strip(scale, Estimate(value=99, low=98, high=100), (), series="s1", label="")
    outside = interval_strip(scale, Estimate(value=99, low=50, high=150), (), series="s1", label="")
    assert inside.count("arrow") == 0
    assert outside.count("arrow") == 2


def test_a_mark_off_the_axis_is_not_drawn():
    marks = (Mark(97.5, "margin", ""), Mark(0.0, "chance", ""))
    html = interval_strip(linear(90, 110), exactly(99.0), marks, series="s1", label="")
    assert 'class="margin"' in html
    assert 'class="chance"' not in html
    assert 'class="chance"' in interval_strip(linear(-10, 110), exactly(99.0), marks, series="s1", label="")
