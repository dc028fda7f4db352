from __future__ import annotations

from whichbits.serving.capacity import capacity, knee, meets, saturated
from whichbits.serving.observation import RequestRow
from whichbits.serving.result import Evidence, Metrics, RungResult
from whichbits.serving.workload import Limit, Slo

EVIDENCE = Evidence(
    requests=1, requests_planned=1, errors=0, first_error=None, steady_s=1.0, waves=5.0, in_flight=1.0, offered_rate=None,
    dispatch_delay_s=0.0, client_cpu=0.0, client_busiest_cpu=0.0, client_cpus=1, clock_step_s=0.0, prompt_tokens=None,
    output_tokens=None, tokens_per_chunk=1.0, prefix_cache_hit_rate=None, foreign_tokens=None,
)  # fmt: skip


def rung(concurrency: int, rate: float, latencies: list[float], *, valid: bool = True) -> RungResult:
    metrics = Metrics(
        requests_per_second=rate, output_tokens_per_second=rate, ttft_s=None, itl_s=None, tpot_s=None, latency_s=None
    )
    rows = tuple(RequestRow(i, 0.0, x / 2, 0.1, 0.1, x, 8, 8, ok=True) for i, x in enumerate(latencies))
    return RungResult(
        rung=f"concurrency {concurrency}", concurrency=concurrency, rate=None, valid=valid, reasons=() if valid else ("bad",),
        metrics=metrics, evidence=EVIDENCE, rows=rows,
    )  # fmt: skip


def test_ladder_ends_where_a_doubling_gains_under_five_percent():
    assert not saturated([])
    assert not saturated([1.0])
    assert not saturated([1.0, 1.06])
    assert saturated([1.0, 1.9, 1.95])


def test_knee_is_the_least_load_near_the_highest_throughput():
    ladder = [
        rung(1, 1.0, [1.0]),
        rung(2, 1.9, [1.0]),
        rung(4, 2.9, [1.4]),
        rung(8, 3.0, [2.7]),
        rung(16, 9.0, [3.0], valid=False),
    ]
    found = knee(ladder)
    assert found is not None and found.concurrency == 4
    assert knee([ladder[-1]]) is None


def test_slo_goes_by_the_interval_of_its_percentile():
    many = rung(4, 1.0, [1.0] * 200)
    assert meets(many, Slo(latency=Limit(seconds=1.5))) == "met"
    assert meets(many, Slo(latency=Limit(seconds=0.9))) == "missed"
    few = rung(4, 1.0, [1.0] * 20)
    assert meets(few, Slo(latency=Limit(seconds=1.5))) == "inconclusive", "20 requests bound no p95 from above"
    assert meets(few, Slo(latency=Limit(seconds=0.9))) == "missed"
    assert meets(many, Slo(latency=Limit(seconds=1.5), ttft=Limit(seconds=0.4))) == "missed"
    assert meets(many, Slo(itl=Limit(seconds=0.2, percentile=50))) == "met"


def test_capacity_is_the_highest_throughput_that_meets_the_slo():
    slo = Slo(latency=Limit(seconds=1.5))
    ladder = [rung(1, 1.0, [1.0] * 200), rung(4, 3.0, [1.4] * 200), rung(8, 4.0, [1.9] * 200)]
    found = capacity(ladder, slo)
    assert found is not None
    assert (found.concurrency, found.requests_per_second, found.conclusive) == (4, 3.0, True)
    assert capacity(ladder[2:], slo) is None
    unsure = capacity([rung(2, 2.0, [1.0] * 20)], slo)
    assert unsure is not None and not unsure.conclusive
    assert capacity([rung(4, 3.0, [1.4] * 200, valid=False)], slo) is None
