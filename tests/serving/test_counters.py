from __future__ import annotations

import pytest

from whichbits.serving.counters import foreign_tokens, prefix_cache_hit_rate


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
