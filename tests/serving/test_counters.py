from __future__ import annotations

import pytest

from whichbits.errors import UserError
from whichbits.serving.counters import (
    Endpoint,
    check_endpoint,
    foreign_tokens,
    parse_counters,
    prefix_cache_hit_rate,
    read_counters,
)

TEXT = """# HELP vllm:prefix_cache_queries_total Prefix cache queries
# TYPE vllm:prefix_cache_queries_total counter
vllm:prefix_cache_queries_total{engine="0",model_name="m"} 1024.0
vllm:prefix_cache_queries_total{engine="1",model_name="m"} 1e3
vllm:prefix_cache_hits_total{engine="0",model_name="a b"} 16.0
process_start_time_seconds 1.7e+09
"""


def test_samples_are_summed_over_labels():
    assert parse_counters(TEXT) == {
        "vllm:prefix_cache_queries_total": 2024.0,
        "vllm:prefix_cache_hits_total": 16.0,
        "process_start_time_seconds": 1.7e9,
    }


def test_hit_rate_between_readings():
    before = {"vllm:prefix_cache_queries_total": 100.0, "vllm:prefix_cache_hits_total": 50.0}
    after = {"vllm:prefix_cache_queries_total": 300.0, "vllm:prefix_cache_hits_total": 60.0}
    assert prefix_cache_hit_rate(before, after) == pytest.approx(0.05)
    assert prefix_cache_hit_rate(after, after) == 0.0
    assert prefix_cache_hit_rate({}, {}) is None


def test_tokens_of_others():
    name = "vllm:generation_tokens_total"
    assert foreign_tokens({name: 10.0}, {name: 110.0}, 75) == pytest.approx(0.25)
    assert foreign_tokens({name: 10.0}, {name: 110.0}, 101) == 0.0
    assert foreign_tokens({}, {}, 5) is None


def test_endpoint_that_is_not_there():
    with pytest.raises(UserError, match="gives no list of models"):
        check_endpoint(Endpoint("http://127.0.0.1:9", "m"))
    with pytest.raises(UserError, match="stopped answering"):
        read_counters(Endpoint("http://127.0.0.1:9", "m"))


def test_model_that_is_not_served(start_engine):
    with pytest.raises(UserError, match="'other' is not served") as caught:
        check_endpoint(Endpoint(start_engine(), "other"))
    assert caught.value.remedy == "it serves m"
