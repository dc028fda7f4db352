"""Loads at which the order of two candidates changes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import t

from whichbits.verdict.assemble import decide
from whichbits.verdict.collect import collect
from whichbits.verdict.crossover import crossing
from whichbits.verdict.phases import Crossover

LOADS = np.array([1.0, 2.0, 4.0, 8.0, 16.0])


def latencies(seed: int, rounds: int = 5, error: float = 0.02) -> tuple[np.ndarray, np.ndarray]:
    """Of two servers whose steps cost 8 + N and 11 + 0.4 N: the first is the faster one below 5."""
    draw = np.random.default_rng(seed)
    drift = np.exp(draw.normal(0, 0.05, (rounds, 1)))
    one, other = ((fixed + each * LOADS) * drift for fixed, each in ((8.0, 1.0), (11.0, 0.4)))
    first, second = (side * np.exp(draw.normal(0, error, (rounds, len(LOADS)))) for side in (one, other))
    return first, second


def test_the_interval_holds_the_crossover_as_often_as_it_says() -> None:
    """2,000 studies: 95 %, within three standard errors of a simulation."""
    found = [crossing(LOADS, *latencies(seed)) for seed in range(2000)]
    stated = [one for one in found if one is not None]
    assert len(stated) > 1990 and all(one.first_below for one in stated)
    held = np.mean([one.load.low <= 5.0 <= one.load.high for one in stated])
    assert held == pytest.approx(0.95, abs=0.0146)
    assert np.median([one.load.value for one in stated]) == pytest.approx(5.0, rel=0.01)


def test_the_interval_ends_where_the_difference_is_just_told() -> None:
    """Against a root search on the interpolated rounds themselves."""
    first, second = latencies(3)
    speed = np.log(np.hstack([first, second])).mean(axis=1)
    differences = (first - second) / np.exp(speed - speed.mean())[:, None]

    def told(at: float) -> float:
        here = np.array([np.interp(at, LOADS, row) for row in differences])
        return float(abs(here.mean()) - t.ppf(0.975, 4) * here.std(ddof=1) / np.sqrt(5))

    found = crossing(LOADS, first, second)
    assert found is not None
    assert found.load.low == pytest.approx(brentq(told, 2.0, found.load.value))
    assert found.load.high == pytest.approx(brentq(told, found.load.value, 12.0))


def test_nothing_is_stated_where_one_is_not_shown_faster_at_either_end() -> None:
    first, second = latencies(1)
    assert crossing(LOADS, first[:1], second[:1]) is None
    assert crossing(LOADS[:3], first[:, :3], second[:, :3]) is None, "the second is not faster at 4"
    assert crossing(LOADS, *latencies(1, rounds=2, error=0.5)) is None
    found = crossing(LOADS, second, first)
    assert found is not None and not found.first_below


@pytest.fixture
def found(steps: Any) -> tuple[Crossover, ...]:
    """At 1 and 2 in flight the candidate is faster, at 8 the base."""
    records = [
        steps.serve("w4a16-int", repeat, {1: (0.6, 1.0), 2: (1.0, 1.3), 8: (3.4, 3.1)}, spread=0.001) for repeat in range(3)
    ]
    formats = {"bf16": "bf16", "w4a16-int": "w4a16-int"}
    return decide(collect([*records, steps.probe("w4a16-int")], "bf16", formats), study="s", model="m").crossovers


def test_a_study_states_the_load(found: tuple[Crossover, ...]) -> None:
    """The difference is −0.3 at 2 and 0.3 at 8: half-way it is 0."""
    (one,) = found
    assert (one.below, one.above, one.workload, one.axis, one.rounds) == ("w4a16-int", "bf16", "chat", "concurrency", 3)
    assert one.load.value == pytest.approx(5.0, abs=0.1)
    assert 4.5 < one.load.low < one.load.value < one.load.high < 5.5
