"""Whole measurements over HTTP: against a server whose timing and faults are known, and against vLLM."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import httpx
import numpy as np
import pytest

from whichbits.core.errors import UserError
from whichbits.schema.workload import Workload
from whichbits.serving.measure import measure
from whichbits.serving.traffic.resolve import with_lengths
from whichbits.serving.workload import parse_workload

pytest.importorskip("aiohttp", reason="aiohttp, of the extra 'measure', is not installed")

CHAT = {"name": "test-chat", "prompt_tokens": 64, "output_tokens": 11, "concurrency": [4], "requests_per_stream": 5}
STREAMED = {"ttft": 0.2, "itl": 0.05}
"""0.2 s to the first of 11 tokens, then 0.05 s each: 0.7 s a request."""
QUICK = {"ttft": 0.05, "itl": 0.01}


def chat(**fields: object) -> Workload:
    return parse_workload(CHAT | fields)


def test_metrics_are_those_of_the_server(start_engine, word_tokenizer: Path):
    heard: list[tuple[str, int, int]] = []
    url = start_engine(**STREAMED)
    results = measure(url, "m", word_tokenizer, chat(), seed=1, on_progress=lambda *event: heard.append(event))
    assert [one.load_level for one in results] == ["synchronous", "concurrency 4"]
    assert heard[5] == ("synchronous", 6, 6) and heard[-1] == ("concurrency 4", 24, 24)
    for result, streams in zip(results, (1, 4), strict=True):
        metrics = result.metrics
        assert len(result.rows) == 5 * streams and all(row.ok for row in result.rows)
        assert metrics.latency_s is not None and metrics.latency_s.mean == pytest.approx(0.7, abs=0.05)
        assert metrics.ttft_s is not None and metrics.ttft_s.mean == pytest.approx(0.2, abs=0.04)
        assert metrics.tpot_s is not None and metrics.tpot_s.mean == pytest.approx(0.05, abs=0.005)
        assert metrics.itl_s is not None and metrics.itl_s.n == 10 * 5 * streams
        assert metrics.requests_per_second == pytest.approx(streams / 0.7, rel=0.1)
        assert metrics.output_tokens_per_second == pytest.approx(11 * metrics.requests_per_second)
        assert {row.output_tokens for row in result.rows} == {11} and {row.prompt_tokens for row in result.rows} == {64}
        json.dumps(result.level().model_dump())

    received = httpx.get(f"{url}/received", trust_env=False).json()
    assert len(received) == 1 + 6 + 24, "one request before the loads asks whether there is an answer at all"
    received = received[1:]
    prompts = [tuple(request["prompt"]) for request in received]
    assert len({prompt[:16] for prompt in prompts}) == len(prompts), "a prompt begins as another does"
    assert {len(prompt) for prompt in prompts} == {64}
    assert all(r["ignore_eos"] and r["temperature"] == 0 and r["max_tokens"] == 11 for r in received)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ({"stop_after": 6}, "output lengths off: 5 of 5 requests, the first with 6 tokens instead of 11"),
        ({"cached": 0.5}, "prefix cache hit: 50.0%"),
        ({"held": True}, "streamed in one piece: all tokens of "),
        ({"fail_every": 4}, "errors: "),
        ({"drop_every": 4}, "errors: "),
    ],
)
def test_faults_of_the_server_make_a_load_level_invalid(start_engine, word_tokenizer: Path, fault, reason):
    (result,) = measure(start_engine(**QUICK, **fault), "m", word_tokenizer, chat(concurrency=[]), seed=1)
    assert not result.valid
    assert any(found.startswith(reason) for found in result.reasons), result.reasons


def test_tokens_count_though_they_carry_no_text_or_share_a_chunk(start_engine, word_tokenizer: Path):
    url = start_engine(ttft=0.2, itl=0.05, textless=4, per_chunk=2)
    (result,) = measure(url, "m", word_tokenizer, chat(concurrency=[], output_tokens=12), seed=1)
    assert result.metrics.ttft_s is not None and result.metrics.ttft_s.mean == pytest.approx(0.2, abs=0.04)
    assert result.evidence.tokens_per_chunk == pytest.approx(2.0)
    assert result.metrics.itl_s is not None and result.metrics.itl_s.mean == pytest.approx(0.1, abs=0.01)
    assert result.metrics.tpot_s is not None and result.metrics.tpot_s.mean == pytest.approx(0.5 / 11, rel=0.1)


def test_gaps_that_differ_at_random_keep_their_mean_and_show_their_spread(start_engine, word_tokenizer: Path):
    url = start_engine(ttft=0.05, itl=0.02, jitter=0.8)
    workload = chat(synchronous=False, concurrency=[4], output_tokens=24, requests_per_stream=6)
    (result,) = measure(url, "m", word_tokenizer, workload, seed=1)
    assert result.metrics.itl_s is not None and result.metrics.tpot_s is not None
    assert result.metrics.tpot_s.mean == pytest.approx(0.02, rel=0.08)
    found = result.metrics.itl_s.percentiles
    assert found["90"] is not None and found["90"].value > 0.028


def test_auto_ladder_ends_at_the_servers_slots(start_engine, word_tokenizer: Path):
    """A server of two slots: 4 in flight serve no more than 2."""
    results = measure(start_engine(ttft=0.1, itl=0.02, slots=2), "m", word_tokenizer, chat(concurrency="auto"), seed=1)
    assert [one.load_level for one in results] == ["synchronous", "concurrency 2", "concurrency 4"]


def test_arrivals_at_a_rate_the_server_cannot_serve(start_engine, word_tokenizer: Path):
    """One slot of 0.2 s serves 5 requests a second; 15 come."""
    url = start_engine(ttft=0.1, itl=0.01, slots=1)
    workload = chat(synchronous=False, concurrency=[], rate=15.0, rate_requests=40)
    (result,) = measure(url, "m", word_tokenizer, workload, seed=1)
    assert (result.load_level, result.concurrency, result.arrivals) == ("rate 15", None, "rate")
    assert any("requests served of" in reason for reason in result.reasons), result.reasons


def test_lengths_that_differ_are_asked_for_and_come(start_engine, word_tokenizer: Path):
    lengths = {"prompt_tokens": {"mean": 40, "stdev": 12}, "output_tokens": {"mean": 6, "stdev": 2, "min": 2}}
    url = start_engine(ttft=0.05, itl=0.01)
    (result,) = measure(url, "m", word_tokenizer, chat(synchronous=False, requests_per_stream=9, **lengths), seed=1)
    assert result.evidence.prompts_off is None and result.evidence.outputs_off is None
    assert len({row.prompt_tokens for row in result.rows}) > 10 and len({row.output_tokens for row in result.rows}) > 3
    received = httpx.get(f"{url}/received", trust_env=False).json()[1:]
    assert sorted((len(one["prompt"]), one["max_tokens"]) for one in received[4:]) == sorted(
        (row.prompt_tokens, row.output_tokens) for row in result.rows
    )


def test_turns_of_a_conversation_follow_their_answers_and_are_found_in_the_cache(start_engine, word_tokenizer: Path):
    workload = chat(synchronous=False, requests_per_stream=9, conversation={"turns": 3, "user_tokens": 13})
    url = start_engine(ttft=0.05, itl=0.01, remembers=True)
    (result,) = measure(url, "m", word_tokenizer, workload, seed=1)
    assert result.valid, result.reasons
    received = httpx.get(f"{url}/received", trust_env=False).json()[1:]
    assert len(received) == 4 * 10
    lengths = [len(one["prompt"]) for one in received]
    # Turns of 64, 88 and 112 tokens; the first four requests begin at different turns, and about a third is of each.
    assert sorted(set(lengths)) == [64, 88, 112] and sorted(lengths[:4]) == [64, 64, 88, 112]
    assert all(11 <= lengths.count(length) <= 16 for length in (64, 88, 112))
    for place, one in enumerate(received[4:], 4):
        earlier = [other["prompt"] for other in received[:place]]
        assert (len(one["prompt"]) == 64) == (one["prompt"][:24] not in [other[:24] for other in earlier])
    assert workload.shared == pytest.approx(152 / 264)
    assert result.evidence.prefix_cache_hit_rate == pytest.approx(workload.shared, abs=0.1)
    assert result.evidence.prefix_cache_hit_rate <= workload.shared + 0.01


def test_a_log_is_replayed_at_its_times_with_its_lengths(start_engine, word_tokenizer: Path, tmp_path: Path):
    log = tmp_path / "log.csv"
    rows = [(0.1 * number, 10 + number, 2 + number % 3) for number in range(30)]
    log.write_text("arrival_s,prompt_tokens,output_tokens\n" + "".join(f"{t},{p},{o}\n" for t, p, o in rows))
    trace = {"file": str(log), "speed": 2}
    fields = with_lengths({"name": "log", "synchronous": False, "concurrency": [], "trace": trace}, log)
    (result,) = measure(start_engine(ttft=0.05, itl=0.01), "m", word_tokenizer, parse_workload(fields), seed=1)
    assert (result.load_level, result.concurrency, result.rate) == ("trace, speed 2", None, pytest.approx(20.0))
    assert (result.arrivals, result.level().arrivals) == ("trace", "trace")
    assert [(row.prompt_tokens, row.output_tokens) for row in result.rows] == [row[1:] for row in rows[3:]]
    assert [row.start_s for row in result.rows] == pytest.approx([row[0] / 2 for row in rows[3:]], abs=0.03)


def test_waiting_in_the_server_is_in_the_latency_from_due(start_engine, word_tokenizer: Path):
    """One slot of 0.3 s and 6 requests a second: they queue in the server."""
    url = start_engine(ttft=0.3, itl=0.0, slots=1)
    workload = chat(synchronous=False, concurrency=[], rate=6.0, rate_requests=20, output_tokens=2, burstiness="constant")
    (result,) = measure(url, "m", word_tokenizer, workload, seed=1)
    due, sent = result.metrics.of("due_latency_s"), result.metrics.latency_s
    assert due is not None and sent is not None and due.mean >= sent.mean > 1.0
    assert result.load_level == "rate 6, constant"


def test_server_that_is_not_there(word_tokenizer: Path):
    with pytest.raises(UserError, match="gives no list of models"):
        measure("http://127.0.0.1:9", "m", word_tokenizer, chat(), seed=1)


def test_cores_that_do_not_exist(start_engine, word_tokenizer: Path):
    before = os.sched_getaffinity(0)
    with pytest.raises(UserError, match="cpus"):
        measure(start_engine(), "m", word_tokenizer, chat(), seed=1, cpus={4095})
    assert os.sched_getaffinity(0) == before


def streamed_by_hand(url: str, model: str, prompts: list[list[int]], output_tokens: int) -> tuple[float, float]:
    """Medians of TTFT and latency by a plain streaming client, without any code of ours. The first request is a warm-up."""
    seen = []
    with httpx.Client(timeout=60, trust_env=False) as client:
        for prompt in prompts:
            body = {"model": model, "prompt": prompt, "max_tokens": output_tokens, "ignore_eos": True, "stream": True}
            began, first = time.perf_counter(), None
            with client.stream("POST", f"{url}/v1/completions", json=body | {"temperature": 0}) as reply:
                for line in reply.iter_lines():
                    if first is None and line.startswith("data: {"):
                        first = time.perf_counter() - began
            assert first is not None
            seen.append((first, time.perf_counter() - began))
    ttft, latency = np.median(seen[1:], axis=0)
    return float(ttft), float(latency)


def test_latencies_are_those_of_a_plain_client(start_engine, word_tokenizer: Path):
    url = start_engine(**STREAMED)
    (result,) = measure(url, "m", word_tokenizer, chat(concurrency=[]), seed=1)
    by_hand = streamed_by_hand(url, "m", [list(range(64))] * 6, 11)
    assert np.median([row.values["ttft_s"] for row in result.rows]) == pytest.approx(by_hand[0], abs=0.03)
    assert np.median([row.values["latency_s"] for row in result.rows]) == pytest.approx(by_hand[1], abs=0.03)


@pytest.mark.server
@pytest.mark.nightly
def test_vllm_finds_no_prompt_in_its_prefix_cache(tiny_llama: Path, tmp_path: Path):
    """With the cache on, two rounds of other seeds hit nothing; a round repeated does, and is called invalid."""
    pytest.importorskip("vllm", reason="no vLLM in this environment")
    from whichbits.engines.http.connection import Connection
    from whichbits.engines.vllm.command import find_vllm
    from whichbits.engines.vllm.footprint import footprint
    from whichbits.engines.vllm.server import Server
    from whichbits.engines.vllm.server_arguments import serving_settings
    from whichbits.hardware.this_machine import describe
    from whichbits.models.configuration import read_configuration
    from whichbits.schema.prefill_decode import PrefillDecode
    from whichbits.serving.prefill_decode import measure_batches

    workload = chat(name="tiny", prompt_tokens=160, output_tokens=16, concurrency=[4])
    settings = serving_settings(describe(), read_configuration(tiny_llama).kv_bytes_per_token, max_length=512)
    arguments = {**settings.arguments, "enable-prefix-caching": True, "served-model-name": "tiny"}
    environment = settings.environment
    with Server(find_vllm(), tiny_llama, arguments=arguments, environment=environment, log=tmp_path / "log") as server:
        for seed in (1, 2):
            for result in measure(server.url, "tiny", tiny_llama, workload, seed=seed):
                assert result.evidence.prefix_cache_hit_rate == 0.0
                assert result.evidence.foreign_tokens == 0.0
                assert {(row.prompt_tokens, row.output_tokens) for row in result.rows} == {(160, 16)}
                assert result.evidence.tokens_per_chunk is not None and 1 <= result.evidence.tokens_per_chunk < 1.5
        repeated = measure(server.url, "tiny", tiny_llama, workload, seed=1)
        assert all(any(reason.startswith("prefix cache hit") for reason in one.reasons) for one in repeated)
        ids = np.random.default_rng(99).integers(1000, 40000, size=(6, 160)).tolist()
        _, by_hand = streamed_by_hand(server.url, "tiny", ids, 16)
        (fresh,) = measure(server.url, "tiny", tiny_llama, workload.model_copy(update={"concurrency": ()}), seed=3)
        assert np.median([row.values["latency_s"] for row in fresh.rows]) == pytest.approx(by_hand, rel=0.5)
        apart = PrefillDecode(batch_sizes=(1, 2), prompt_tokens=(160,), context_tokens=(168,), repeats=2, steps=8)
        batches = measure_batches(server.url, "tiny", tiny_llama, apart, seed=4)
        assert [len(one.seconds) for one in batches] == [2] * 4, [one.reasons for one in batches]
        took = footprint(Connection(server.url, "tiny"))
        assert took.kv_cache_tokens is not None and took.kv_cache_tokens >= 512
        assert took.start_s == pytest.approx(server.start_s, abs=1e-3)
        assert took.peak_memory_bytes is not None and took.peak_memory_bytes > 2e8
