"""Whether a load keeps its limits, by the intervals of the percentiles."""

import pytest

from whichbits.schema.workload import Limit
from whichbits.verdict.collect import collect
from whichbits.verdict.slo import limits_of
from whichbits.verdict.speed import loads

FORMATS = {"bf16": "bf16", "w8a8-int": "w8a8-int"}


def standing(steps, seconds, limit, *, concurrency=16, metric="latency", percentile=95.0):
    """Of a load whose rounds have these mean latencies; 10 requests for each in flight, all within 0.1 % of the mean."""
    records = [steps.serve("w8a8-int", r, {concurrency: (s, 1.0)}, spread=1e-4) for r, s in enumerate(seconds)]
    (load,) = [load for load in loads(collect(records, "bf16", FORMATS)) if load.candidate == "w8a8-int"]
    return limits_of(load, {metric: Limit(seconds=limit, percentile=percentile)}, level=0.95)


@pytest.mark.parametrize(
    ("seconds", "limit", "expected"),
    [
        ((1.0, 1.01, 0.99), 1.2, "kept"),
        ((1.0, 1.01, 0.99), 0.9, "missed"),
        ((1.0, 1.01, 0.99), 1.005, "open"),
        ((0.9, 0.99, 0.81), 1.05, "open"),  # below the limit each time, and with too much spread to be shown
        ((0.9, 0.99, 0.81), 1.5, "kept"),
    ],
)
def test_over_rounds(steps, seconds, limit, expected):
    assert standing(steps, seconds, limit) == expected


@pytest.mark.parametrize(("limit", "expected"), [(0.9, "missed"), (2.0, "open")])
def test_one_round_can_miss_a_limit_and_cannot_be_shown_to_keep_it(steps, limit, expected):
    assert standing(steps, (1.0,), limit) == expected


@pytest.mark.parametrize(("limit", "expected"), [(0.9, "missed"), (1.2, "kept")])
def test_too_few_requests_in_each_round_are_taken_together(steps, limit, expected):
    """40 requests a round give no p95; 120 together bound it."""
    assert standing(steps, (1.0, 1.01, 0.99), limit, concurrency=4) == expected


def test_requests_that_bound_no_percentile_leave_it_open(steps):
    assert standing(steps, (1.0, 1.01, 0.99), 5.0, concurrency=1) == "open"  # 30 requests: none is sure to lie above p95
    assert standing(steps, (1.0, 1.01, 0.99), 0.5, concurrency=1) == "missed"


def test_every_limit_counts(steps):
    assert standing(steps, (1.0, 1.01, 0.99), 1e-6, metric="ttft", percentile=50.0) == "missed"


def test_without_limits_every_load_is_kept(steps):
    records = [steps.serve("w8a8-int", 0, {16: (1.0, 1.0)})]
    assert [limits_of(load, {}, level=0.95) for load in loads(collect(records, "bf16", FORMATS))] == ["kept", "kept"]
