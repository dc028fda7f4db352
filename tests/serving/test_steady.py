from __future__ import annotations

import numpy as np
import pytest

from whichbits.serving.metric import RequestMetric
from whichbits.serving.metrics.registry import all_metrics
from whichbits.serving.observation import Observation
from whichbits.serving.result import metrics_of, row
from whichbits.serving.steady import Steady, backlog_growth, drift, steady
from whichbits.serving.traffic.arrivals import Even, Random
from whichbits.serving.workload import LoadLevel

OF_REQUESTS = [metric for metric in all_metrics() if isinstance(metric, RequestMetric)]


def seen(request: int, start: float, end: float, *, warmup: bool = False, tokens: int = 11, chunks: int = 11) -> Observation:
    """First token at a tenth of the time, last at the end, tokens evenly between."""
    first = start + (end - start) / 10
    gap = (end - first) / (chunks - 1)
    return Observation(
        request, warmup, start, start, first, end, end, 5, tokens, chunks, (gap,) * (chunks - 1), None, 5, tokens
    )


def test_row_by_hand():
    one = row(Observation(3, False, 0.9, 1.0, 1.5, 3.5, 3.6, 128, 5, 3, (1.2, 0.8), None, 128, 5), OF_REQUESTS)
    assert (one.request, one.start_s, one.values["ttft_s"], one.ok) == (3, 1.0, 0.5, True)
    assert one.values["itl_s"] == pytest.approx(2.0 / 2)
    assert one.values["tpot_s"] == pytest.approx(2.0 / 4)
    assert one.values["latency_s"] == pytest.approx(2.6)


def test_row_of_a_failure_has_no_latency():
    one = row(Observation(3, False, 0.9, 1.0, 1.5, 3.5, 3.6, 128, 5, 3, (), "HTTP 500", 128, 5), OF_REQUESTS)
    assert not one.ok
    assert (one.values["ttft_s"], one.values["itl_s"], one.values["tpot_s"], one.values["latency_s"]) == (
        None,
        None,
        None,
        None,
    )


def test_throughput_in_lock_step():
    """Two streams, waves of 2 s, the first a warm-up: one request a second, whatever the end of the run looks like."""
    load_level = LoadLevel("concurrency 2", 2, None, warmup=2, requests=6)
    all_seen = [seen(2 * wave + i, 2.0 * wave, 2.0 * wave + 2, warmup=wave == 0) for wave in range(4) for i in range(2)]
    window = steady(all_seen, load_level)
    assert window is not None
    assert (window.begin_s, window.end_s) == (2.0, 8.0)
    assert window.requests_per_second == pytest.approx(1.0)
    assert window.output_tokens_per_second == pytest.approx(11.0)
    assert window.in_flight == pytest.approx(2.0)


def test_staggered_streams_leave_ramp_and_drain_out():
    """Streams of 2 s half a period apart; dividing by the whole run would give 8 / 9 instead of 1 a second."""
    load_level = LoadLevel("concurrency 2", 2, None, warmup=2, requests=6)
    first = [seen(i, 2.0 * i, 2.0 * i + 2, warmup=i == 0) for i in range(4)]
    second = [seen(10 + i, 1 + 2.0 * i, 3 + 2.0 * i, warmup=i == 0) for i in range(4)]
    window = steady(first + second, load_level)
    assert window is not None
    assert (window.begin_s, window.end_s) == (3.0, 8.0)
    assert window.requests_per_second == pytest.approx(1.0)
    assert window.in_flight == pytest.approx(2.0)


def test_idle_client_shows_in_the_requests_in_flight():
    """One stream that rests 1 s after each request of 3 s: 3/4 in flight, one request in 4 s."""
    load_level = LoadLevel("synchronous", 1, None, warmup=1, requests=5)
    window = steady([seen(i, 4.0 * i, 4.0 * i + 3, warmup=i == 0) for i in range(6)], load_level)
    assert window is not None
    assert window.in_flight == pytest.approx(0.75)
    assert window.requests_per_second == pytest.approx(0.25)


def test_window_of_arrivals_ends_with_the_last():
    load_level = LoadLevel("rate 1", None, 1.0, warmup=1, requests=4)
    window = steady([seen(i, float(i), i + 0.5, warmup=i == 0) for i in range(5)], load_level)
    assert window is not None
    assert (window.begin_s, window.end_s) == (1.0, 4.0)
    assert window.requests_per_second == pytest.approx(1.0)


def test_metrics_leave_the_warm_up_out():
    """The warm-up took ten times as long; gaps are pooled over requests."""
    all_seen = [seen(0, 0, 20, warmup=True), seen(1, 20, 22), seen(2, 22, 24, chunks=2)]
    metrics = metrics_of(all_seen, all_metrics(), None)
    assert metrics.latency_s is not None and metrics.latency_s.mean == pytest.approx(2.0)
    assert metrics.ttft_s is not None and metrics.ttft_s.mean == pytest.approx(0.2)
    assert metrics.tpot_s is not None and metrics.tpot_s.mean == pytest.approx(0.18)
    assert metrics.itl_s is not None
    assert metrics.itl_s.n == 11
    assert metrics.itl_s.mean == pytest.approx((10 * 0.18 + 1.8) / 11)
    assert metrics.requests_per_second is None


def test_drift_is_told_from_chance() -> None:
    """Latencies that grow by a half, a step of a quarter, and noise of a tenth, of which one in a hundred is told wrongly."""
    window = Steady(0.0, 1e9, 1.0, 1.0, 1.0)

    def found(latencies: np.ndarray) -> float | None:
        seen = [
            Observation(n, False, float(n), float(n), n + 0.1, n + lat, n + lat, 8, 8, 8, (), None, 8, 8)
            for n, lat in enumerate(latencies)
        ]
        return drift(seen, window)

    rng = np.random.default_rng(0)
    growing, step = np.linspace(1.0, 1.5, 100), np.repeat([1.0, 1.25], 50)
    assert found(growing + rng.normal(0, 0.05, 100)) == pytest.approx(0.22, abs=0.04)
    assert found(step + rng.normal(0, 0.05, 100)) == pytest.approx(0.25, abs=0.04)
    assert found(np.ones(100)) is None
    assert found(growing[:19]) is None, "too few"
    assert sum(found(rng.normal(1.0, 0.1, 60)) is not None for _ in range(1000)) < 30


def growth(arrivals: np.ndarray, service: np.ndarray, rate: float) -> int | None:
    """Of a server of one slot; the first tenth is the warm-up."""
    seen, free, warmup = [], 0.0, len(arrivals) // 11
    for number, (arrived, seconds) in enumerate(zip(arrivals.tolist(), service.tolist(), strict=True)):
        free = max(arrived, free) + seconds
        seen.append(Observation(number, number < warmup, arrived, arrived, arrived, free, free, 8, 8, 8, (), None, 8, 8))
    window = steady(seen, LoadLevel("rate", None, Random(rate), warmup, len(arrivals) - warmup))
    assert window is not None
    return backlog_growth(seen, window, rate)


@pytest.mark.parametrize(("rate", "grown"), [(0.5, None), (0.99, None), (1.05, 5), (1.2, 16), (1.5, 23)])
def test_the_backlog_of_even_arrivals_grows_beyond_what_is_served(rate: float, grown: int | None) -> None:
    found = growth(Even(rate).times(110, 0), np.ones(110), rate)
    assert found == (None if grown is None else pytest.approx(grown, abs=3))


@pytest.mark.parametrize(("rate", "least", "most"), [(0.5, 0, 0), (0.9, 0, 5), (1.05, 120, 200), (1.2, 195, 200)])
def test_how_often_a_backlog_of_poisson_arrivals_is_said_to_grow(rate: float, least: int, most: int) -> None:
    """Of 200 loads of 400 requests, of which at most one in forty may be wrong at 90 % utilisation."""
    loads = (Random(rate).times(440, seed) for seed in range(200))
    assert least <= sum(growth(arrivals, np.ones(440), rate) is not None for arrivals in loads) <= most


def test_a_cluster_of_arrivals_is_no_growing_backlog() -> None:
    """It leaves a queue that was not there before, and the server serves what the rate says."""
    arrivals = np.concatenate([np.arange(100) * 2.0, 200 + np.arange(20) * 0.1])
    assert growth(arrivals, np.ones(120), 0.5) is None
