from __future__ import annotations

from dataclasses import replace

import pytest

from whichbits.schema.serve import Distribution, Evidence, LengthsOff, Metrics
from whichbits.serving.evidence import of_requests
from whichbits.serving.metrics.registry import all_metrics
from whichbits.serving.observation import Observation
from whichbits.serving.result import metrics_of
from whichbits.serving.steady import steady
from whichbits.serving.validity import judge, prompt_tolerance
from whichbits.serving.workload import at_concurrency, at_rate, named_workloads

DEMO = named_workloads()["demo-chat"]
GOOD = Evidence(
    requests=20, requests_planned=20, errors=0, first_error=None, steady_s=10.0, mean_latencies=5.0, in_flight=3.98,
    offered_rate=None, dispatch_delay_s=0.01, client_cpu=0.2, client_busiest_cpu=0.1, client_cpus=1, clock_step_s=0.0,
    prompt_tokens=(128, 128), output_tokens=(32, 32), tokens_per_chunk=1.0, prefix_cache_hit_rate=0.0, foreign_tokens=0.0,
)  # fmt: skip
METRICS = Metrics(
    requests_per_second=2.0, output_tokens_per_second=64.0, itl_s=None, tpot_s=None,
    ttft_s=Distribution(n=20, mean=0.5, percentiles={}),
    latency_s=Distribution(n=20, mean=2.0, percentiles={}),
)  # fmt: skip


def test_good_load_level_is_valid():
    assert judge(GOOD, METRICS, at_concurrency(DEMO, 4), DEMO) == ()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"errors": 2, "first_error": "HTTP 500"}, "errors: 2 requests failed, the first with HTTP 500"),
        ({"requests": 19}, "too few samples: 19 of 20"),
        (
            {"outputs_off": LengthsOff(requests=3, asked=32, counted=7)},
            "output lengths off: 3 of 20 requests",
        ),
        ({"prompts_off": LengthsOff(requests=1, asked=128, counted=130)}, "prompt lengths off: 1 of 20 requests"),
        ({"prefix_cache_hit_rate": 0.02}, "prefix cache hit: 2.0%"),
        ({"foreign_tokens": 0.25}, "server not alone: 25.0%"),
        ({"at_once": 0.5}, "streamed in one piece: all tokens of 50%"),
        ({"loop_lag_s": 0.03}, "client saturated: it read 30.0 ms late"),
        ({"client_cpu": 0.85}, "client saturated: 0.85 of its 1 cores"),
        ({"client_busiest_cpu": 0.9, "client_cpus": 8, "client_cpu": 1.0}, "client saturated: 1.00 of its 8 cores used, 0.90"),
        ({"dispatch_delay_s": 0.2}, "client saturated: requests were sent 200.0 ms late, 9.1%"),
        ({"clock_step_s": -0.5}, "clock stepped by -500.0 ms"),
        ({"mean_latencies": 3.0}, "not in steady state: the window holds 3.0 mean latencies"),
        ({"in_flight": 3.7}, "not in steady state: 3.70 requests in flight (X·R) instead of 4"),
        ({"steady_s": None, "mean_latencies": None, "in_flight": None}, "not in steady state: no time"),
    ],
)
def test_each_fault_has_its_own_reason(change, reason):
    reasons = judge(GOOD.model_copy(update=change), METRICS, at_concurrency(DEMO, 4), DEMO)
    assert len(reasons) == 1
    assert reasons[0].startswith(reason)


@pytest.mark.parametrize(("asked", "tokens"), [(4, 1), (128, 1.28), (5000, 50)])
def test_a_server_may_add_a_token_or_a_hundredth_to_a_prompt(asked, tokens):
    assert prompt_tolerance(asked) == tokens


def test_what_prompts_share_on_purpose_may_come_from_the_cache():
    shared = DEMO.model_copy(update={"shared_prefix_tokens": 64})
    hit = GOOD.model_copy(update={"prefix_cache_hit_rate": 0.49})
    assert judge(hit, METRICS, at_concurrency(DEMO, 4), shared) == ()
    assert judge(hit.model_copy(update={"prefix_cache_hit_rate": 0.52}), METRICS, at_concurrency(DEMO, 4), shared)


def test_a_backlog_that_grows_makes_arrivals_at_a_rate_invalid():
    reasons = judge(GOOD.model_copy(update={"backlog_growth": 12}), METRICS, at_rate(DEMO, 3.0), DEMO)
    assert len(reasons) == 1
    assert reasons[0].startswith("backlog grows: 12 more requests")


@pytest.mark.parametrize("served", [1.0, 2.0])
@pytest.mark.parametrize("level", [at_rate(DEMO, 1.2), replace(at_rate(DEMO, 1.2), seeks_capacity=True)])
def test_an_overloaded_server_of_arrivals_has_a_growing_backlog(level, served):
    """Of the 1.2 requests that come each second one is served, or each within a second."""
    seen = [
        Observation(n, n < 10, n / 1.2, n / 1.2, end - 0.5, end, end, 128, 32, 32, (), None, 128, 32)
        for n in range(110)
        for end in (n / min(served, 1.2) + 1.0,)
    ]
    window = steady(seen, level)
    evidence = of_requests(seen, level, metrics_of(seen, all_metrics(), window), window)
    assert (evidence.backlog_growth is not None) == (served < 1.2)


def test_arrivals_faster_than_the_server():
    load_level = at_rate(DEMO, 3.0)
    assert judge(GOOD.model_copy(update={"offered_rate": 2.1}), METRICS, load_level, DEMO) == ()
    reasons = judge(GOOD.model_copy(update={"offered_rate": 3.0}), METRICS, load_level, DEMO)
    assert reasons == ("not in steady state: 2.00 requests served of 3.00 that came each second",)
