"""Runs that look for the highest rate at which limits hold: where they go, and what they find of a server that is known."""

from __future__ import annotations

from math import inf
from pathlib import Path

import pytest

from whichbits.core.crossing import Point
from whichbits.schema.serve import CapacityRun, Distribution, Evidence, Metrics
from whichbits.schema.workload import CapacitySearch, Limit, Slo
from whichbits.serving.capacity import capacity_levels, capacity_run, next_rate
from whichbits.serving.measure import measure
from whichbits.serving.result import LoadLevelResult, RequestRow
from whichbits.serving.run_length import requests_of
from whichbits.serving.traffic.arrivals import Random
from whichbits.serving.workload import LoadLevel, parse_workload


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
    assert requests_of(CapacitySearch(requests=5000), slo) == 5000


def test_the_capacity_of_a_server_of_one_slot(start_engine, word_tokenizer: Path) -> None:
    """Of 40 ms a request: its queue grows at 30 a second, and p10 of the latency is far below 0.3 s at 10.

    On a machine that others use a run may not be valid, and then it tells nothing.
    """
    pytest.importorskip("aiohttp")
    url = start_engine(ttft=0.03, itl=0.01, slots=1)
    workload = parse_workload(
        {
            "name": "mine", "prompt_tokens": 8, "output_tokens": 2, "concurrency": [], "requests_per_stream": 5,
            "slo": {"latency": {"seconds": 0.3, "percentile": 10}}, "capacity": {"runs": 2},
        }
    )  # fmt: skip
    first = measure(url, "m", word_tokenizer, workload, seed=1)
    runs = [one.capacity_run for one in first if one.capacity_run is not None]
    assert [one.load_level for one in first] == ["synchronous", *(f"capacity run {number}" for number in (1, 2))]
    assert runs, [one.reasons for one in first]
    assert all(one.valid or one.reasons for one in first)
    held = [run.rate for run in runs if run.worst is not None and run.worst < 1]
    missed = [run.rate for run in runs if run.worst is None or run.worst >= 1]
    assert max(held, default=0) < 30 and min(missed, default=99) > 10
    again = measure(url, "m", word_tokenizer, workload, seed=2, earlier=runs)
    later = [one.capacity_run.rate for one in again if one.capacity_run is not None]
    rates = [run.rate for run in runs]
    assert all(0.9 * min(rates) / 2 < rate < 1.1 * max(rates) * 2 for rate in later), "the next round goes on where this ended"


LEVEL = LoadLevel("capacity run 1", None, Random(3.0), 10, 20, seeks_capacity=True)
WORKLOAD = parse_workload(
    {"name": "mine", "prompt_tokens": 8, "output_tokens": 2, "slo": {"latency": {"seconds": 2.0}}, "capacity": {}}
)
EVIDENCE = Evidence(
    requests=20, requests_planned=20, errors=0, first_error=None, steady_s=7.0, mean_latencies=5.0, in_flight=4.0,
    offered_rate=2.9, dispatch_delay_s=0.0, client_cpu=0.1, client_busiest_cpu=0.1, client_cpus=1, clock_step_s=0.0,
    prompt_tokens=(8, 8), output_tokens=(2, 2), tokens_per_chunk=1.0, prefix_cache_hit_rate=0.0, foreign_tokens=0.0,
)  # fmt: skip


@pytest.mark.parametrize(
    ("change", "served", "found"),
    [
        ({}, 2.9, CapacityRun(rate=2.9, worst=0.5)),
        ({}, 2.0, CapacityRun(rate=2.9, worst=None)),  # piled up
        ({"backlog_growth": 12}, 2.9, CapacityRun(rate=2.9, worst=None)),  # on the way to it
        ({"errors": 2, "requests": 18}, 2.9, CapacityRun(rate=2.9, worst=None)),  # refused
        ({"client_busiest_cpu": 0.9}, 2.9, None),
        ({"foreign_tokens": 0.5}, 2.0, None),
        ({"mean_latencies": 2.0}, 2.9, None),  # within the limit, and too short
        ({"mean_latencies": None}, 2.9, None),
    ],
)
def test_what_a_run_tells(change: dict[str, float], served: float, found: CapacityRun | None) -> None:
    row = RequestRow(0, 0.0, {"latency_s": 1.0}, 8, 2, ok=True)
    metrics = Metrics(
        requests_per_second=served, output_tokens_per_second=1.0, latency_s=Distribution(n=20, mean=1.0, percentiles={})
    )
    evidence = EVIDENCE.model_copy(update=change)
    result = LoadLevelResult(
        load_level="capacity run 1",
        concurrency=None,
        rate=3.0,
        valid=True,
        metrics=metrics,
        evidence=evidence,
        rows=(row,) * 20,
    )
    assert capacity_run(result, LEVEL, WORKLOAD) == found


def test_a_short_run_that_exceeds_a_limit_has_missed_it() -> None:
    """Twice as many requests as a server can take come and go within few latencies."""
    result = LoadLevelResult(
        load_level="capacity run 1",
        concurrency=None,
        rate=3.0,
        valid=False,
        metrics=Metrics(requests_per_second=2.9, output_tokens_per_second=1.0),
        evidence=EVIDENCE.model_copy(update={"mean_latencies": 2.0}),
        rows=(RequestRow(0, 0.0, {"latency_s": 2.1}, 8, 2, ok=True),) * 20,
    )
    assert capacity_run(result, LEVEL, WORKLOAD) == CapacityRun(rate=2.9, worst=None)


def test_a_run_lasts_several_latencies() -> None:
    """At 200 a second, 320 requests would be through in 1.6 s, less than one of them takes."""
    slow = parse_workload(
        {
            "name": "mine", "prompt_tokens": 8, "output_tokens": 2, "capacity": {"runs": 1},
            "slo": {"ttft": {"seconds": 1.0, "percentile": 50}},
        }
    )  # fmt: skip
    first = LoadLevelResult(
        load_level="synchronous",
        concurrency=1,
        rate=None,
        valid=True,
        metrics=Metrics(
            requests_per_second=200.0,
            output_tokens_per_second=400.0,
            latency_s=Distribution(n=20, mean=2.0, percentiles={}),
        ),
        evidence=EVIDENCE,
        rows=(RequestRow(0, 0.0, {"ttft_s": 0.1}, 8, 2, ok=True),) * 20,
    )
    (level,) = capacity_levels(slow, [first], [])
    assert (level.rate, level.requests) == (200.0, 200 * 2 * 10.5)
