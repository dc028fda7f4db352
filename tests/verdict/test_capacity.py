from __future__ import annotations

from math import exp, inf, log

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import t

from whichbits.core.crossing import Point
from whichbits.verdict.capacity import SYSTEMATIC, Capacity, capacity, capacity_findings, ratio
from whichbits.verdict.findings import CapacityRound, Findings


def noisy(rate: float, seed: int, runs: int = 8, slope: float = 2.0, noise: float = 0.04) -> list[Point]:
    """Runs around a capacity of `rate` whose worst limit is (r / rate)^slope, but for noise."""
    draw = np.random.default_rng(seed)
    rates = rate * np.exp(np.linspace(-0.06, 0.06, runs))
    return [Point(float(r), float((r / rate) ** slope * exp(draw.normal(0, noise)))) for r in rates]


def test_the_interval_holds_the_capacity_as_often_as_it_says() -> None:
    """4,000 studies with lines whose noise is normal: 95 %, within three standard errors of a simulation."""
    held = 0
    for seed in range(4000):
        found = capacity(noisy(5.0, seed))
        held += found.low * exp(SYSTEMATIC) <= 5.0 <= found.high * exp(-SYSTEMATIC)
    assert held / 4000 == pytest.approx(0.95, abs=0.0105)


def test_the_interval_is_where_the_lines_confidence_band_is_1() -> None:
    """Fieller's interval against a root search on the band itself."""
    points = noisy(5.0, 3)
    x, y = np.array([point.logs for point in points]).T
    slope, intercept = np.polyfit(x, y, 1)
    rest = y - intercept - slope * x
    deviation = np.sqrt((rest**2).sum() / (len(x) - 2))
    spread = ((x - x.mean()) ** 2).sum()

    def band(at: float, side: int) -> float:
        error = deviation * np.sqrt(1 / len(x) + (at - x.mean()) ** 2 / spread)
        return float(intercept + slope * at + side * t.ppf(0.975, len(x) - 2) * error)

    found = capacity(points)
    assert found.rate == pytest.approx(exp(-intercept / slope))
    assert found.low == pytest.approx(exp(brentq(band, log(3), log(6), args=(1,)) - SYSTEMATIC))
    assert found.high == pytest.approx(exp(brentq(band, log(4), log(8), args=(-1,)) + SYSTEMATIC))


@pytest.mark.parametrize(
    ("points", "found"),
    [
        ([Point(2, 0.4), Point(4, 0.8)], Capacity(4, 4, inf)),
        ([Point(2, 1.4), Point(4, inf)], Capacity(2, 0, 2)),
        ([Point(2, 0.4), Point(8, inf)], Capacity(4, 2, 8)),
        ([Point(4.0, 1.02), Point(4.2, 0.97)], Capacity(pytest.approx(4.0988, abs=1e-3), 4.0, 4.2)),
    ],
)
def test_few_runs_give_the_rates_between_which_it_lies(points: list[Point], found: Capacity) -> None:
    assert capacity(points) == found


def test_a_ratio_adds_the_relative_distances_in_quadrature() -> None:
    found = ratio(Capacity(6, 5.4, 6.9), Capacity(4, 3.8, 4.4))
    assert found is not None and found.value == pytest.approx(1.5)
    assert log(found.value / found.low) == pytest.approx(np.hypot(log(6 / 5.4), log(4.4 / 4)))
    assert log(found.high / found.value) == pytest.approx(np.hypot(log(6.9 / 6), log(4 / 3.8)))
    assert ratio(Capacity(6, 6, inf), Capacity(4, 3.8, 4.4)) is None
    assert ratio(Capacity(6, 5, 7), Capacity(4, 0, 4.4)) is None


def test_the_ratio_of_two_capacities_is_held_as_often_as_it_says_or_more() -> None:
    held = 0
    for seed in range(2000):
        found = ratio(capacity(noisy(6.0, seed)), capacity(noisy(4.0, 10_000 + seed, noise=0.02)))
        held += found is not None and found.low <= 1.5 <= found.high
    assert 0.95 <= held / 2000 < 1


def test_the_bases_runs_count_once_though_each_candidate_has_a_copy() -> None:
    def rounds(candidate: str, rate: float, copies: int) -> list[CapacityRound]:
        return [
            CapacityRound(candidate, "chat", "here", "s", 0, f"capacity run {number}", point, (f"{candidate}{copy}",))
            for copy in range(copies)
            for number, point in enumerate(noisy(rate, 1))
        ]

    seen = (*rounds("int8", 6.0, 1), *rounds("bf16", 4.0, 2))
    findings = Findings(base="bf16", formats={"bf16": "bf16", "int8": "w8a8-int"}, capacity_rounds=seen)
    base, int8 = capacity_findings(findings, level=0.95)
    assert (base.candidate, base.runs, base.over_base, base.steps) == ("bf16", 8, None, ("bf160", "bf161"))
    assert int8.over_base is not None and int8.over_base.low < 1.5 < int8.over_base.high
    assert list(capacity_findings(Findings(base="bf16", formats={"bf16": "bf16"}), level=0.95)) == []
