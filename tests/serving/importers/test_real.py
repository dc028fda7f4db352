"""Results that the tools themselves wrote of a server with known delays: 80 ms to the first of 8 tokens, then 20 ms a token.

`vllm-bench.json` is of vLLM 0.32's `bench serve`, `guidellm-0.8.1.json` and `inference-perf-0.7.0` of those command lines,
all with two requests in flight; paths, prompts, answers and what is not read were taken out.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from whichbits.serving.importers.registry import read
from whichbits.serving.importers.results import result_of, workload_of
from whichbits.serving.metrics.registry import METRICS

HERE = Path(__file__).parent
FILES = ("vllm-bench.json", "inference-perf-0.7.0")


@pytest.mark.parametrize("name", FILES)
def test_the_delays_of_the_server(name: str) -> None:
    run = read(HERE / name)
    (load,) = run.loads
    found = result_of(load, run.lacks, workload_of(run.loads, "imported"))
    assert (run.model, found.load_level, found.valid, found.reasons) == ("m", "concurrency 2", True, ())
    assert found.evidence.requests == 18
    assert found.evidence.output_tokens == (8, 8)
    assert found.metrics.mean("tpot_s") == pytest.approx(0.020, rel=0.02)
    assert found.metrics.mean("itl_s") == pytest.approx(0.020, rel=0.02)
    assert 0.080 < (found.metrics.mean("ttft_s") or 0) < 0.095
    assert found.metrics.requests_per_second == pytest.approx(2 / 0.22, rel=0.06)


def test_vllm_names_the_same_what_we_do() -> None:
    """Over all its requests, the first ones included, its own means are ours."""
    (load,), own = read(HERE / FILES[0]).loads, json.loads((HERE / FILES[0]).read_text())
    for key, theirs in (("ttft_s", "mean_ttft_ms"), ("tpot_s", "mean_tpot_ms"), ("itl_s", "mean_itl_ms")):
        values = METRICS.get(key).sample(load.seen)  # type: ignore[attr-defined]
        assert 1e3 * sum(values) / len(values) == pytest.approx(own[theirs], rel=1e-4)


def test_inference_perf_counts_tokens_by_its_tokenizer_and_we_by_the_server() -> None:
    """Its TPOT divides by the tokens of the text as it splits them, here 2 of 8: seven times as long."""
    run = read(HERE / FILES[1])
    own = json.loads((HERE / FILES[1] / "stage_0_lifecycle_metrics.json").read_text())["successes"]["latency"]
    values = METRICS.get("tpot_s").sample(run.loads[0].seen)  # type: ignore[attr-defined]
    assert own["time_per_output_token"]["mean"] == pytest.approx(7 * sum(values) / len(values), rel=1e-3)
    gaps = METRICS.get("itl_s").sample(run.loads[0].seen)  # type: ignore[attr-defined]
    assert own["inter_token_latency"]["mean"] == pytest.approx(sum(gaps) / len(gaps), rel=1e-3)


def test_guidellm_calls_our_tpot_itl_and_hands_over_late() -> None:
    """Its processes sent requests 13 ms after those before them had ended, which is said."""
    (load,), own = read(HERE / "guidellm-0.8.1.json").loads, json.loads((HERE / "guidellm-0.8.1.json").read_text())
    theirs = own["benchmarks"][0]["metrics"]
    values = METRICS.get("tpot_s").sample(load.seen)  # type: ignore[attr-defined]
    assert theirs["inter_token_latency_ms"]["successful"]["mean"] == pytest.approx(1e3 * sum(values) / len(values), rel=1e-4)
    first = METRICS.get("ttft_s").sample(load.seen)  # type: ignore[attr-defined]
    assert theirs["time_to_first_token_ms"]["successful"]["mean"] == pytest.approx(1e3 * sum(first) / len(first), rel=1e-4)
    found = result_of(load, frozenset(), workload_of([load], "imported"))
    assert found.evidence.dispatch_delay_s == pytest.approx(0.013, abs=0.001)
    assert not found.valid
    assert any(reason.startswith("client saturated: requests were sent") for reason in found.reasons)
