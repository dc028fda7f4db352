"""Runs that look for the highest rate at which limits hold: where they go, and what they find of a server that is known."""

from __future__ import annotations

from math import inf
from pathlib import Path

import pytest

from whichbits.core.crossing import Point
from whichbits.schema.workload import CapacitySearch, Limit, Slo
from whichbits.serving.capacity import next_rate, requests_of
from whichbits.serving.measure import measure
from whichbits.serving.workload import parse_workload


@pytest.mark.parametrize(
    ("points", "rate"),
    [
        ([], 3.0),
        ([Point(3, 0.5)], 6.0),
        ([Point(3, inf)], 1.5),
        ([Point(3, 0.9), Point(6, inf)], 3 * 2**0.345),  # logs −0.105 and, cut off, 0.2
        ([Point(3, 0.9), Point(3.3, 1.2)], 3.1065 / 1.05),  # logs −0.105 and 0.182; as many below as above
    ],
)
def test_the_next_rate(points: list[Point], rate: float) -> None:
    assert next_rate(points, 3.0) == pytest.approx(rate, rel=1e-3)


def test_runs_are_long_enough_for_their_percentile() -> None:
    slo = Slo(ttft=Limit(seconds=1, percentile=90), latency=Limit(seconds=9, percentile=95))
    assert requests_of(CapacitySearch(), slo) == 3200
    assert requests_of(CapacitySearch(requests=100), slo) == 100


def test_the_capacity_of_a_server_of_one_slot(start_engine, word_tokenizer: Path) -> None:
    """Of 20 ms a request: it serves no more than 50 a second, and p90 of the latency is far below 0.15 s at 20."""
    pytest.importorskip("aiohttp")
    url = start_engine(ttft=0.015, itl=0.005, slots=1)
    workload = parse_workload(
        {
            "name": "mine", "prompt_tokens": 8, "output_tokens": 2, "concurrency": [], "requests_per_stream": 5,
            "slo": {"latency": {"seconds": 0.15, "percentile": 90}}, "capacity": {"runs": 3, "requests": 100},
        }
    )  # fmt: skip
    first = measure(url, "m", word_tokenizer, workload, seed=1)
    runs = [one.capacity_run for one in first if one.capacity_run is not None]
    assert [one.load_level for one in first] == ["synchronous", *(f"capacity run {number}" for number in (1, 2, 3))]
    assert len(runs) == 3 and all(one.valid or one.reasons for one in first)
    held = [run.rate for run in runs if run.worst is not None and run.worst < 1]
    missed = [run.rate for run in runs if run.worst is None or run.worst >= 1]
    assert held and max(held) < 50 and min(missed, default=99) > 20
    again = measure(url, "m", word_tokenizer, workload, seed=2, earlier=runs)
    later = [one.capacity_run.rate for one in again if one.capacity_run is not None]
    beyond = 1.1 * max(missed, default=2 * max(held))
    assert all(0.9 * min(held) < rate < beyond for rate in later), "the next round goes on where this one ended"
