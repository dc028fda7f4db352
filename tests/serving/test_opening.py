"""What a server cannot do is found by its first answers, said before any load, and measured in another way."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from whichbits.core.errors import UserError
from whichbits.engines.http.connection import Connection
from whichbits.schema.prefill_decode import PrefillDecode
from whichbits.schema.serve import Evidence
from whichbits.schema.server_abilities import AS_TEXT, BY_MIN_TOKENS, ServerAbilities
from whichbits.serving.client import request_body
from whichbits.serving.measure import measure
from whichbits.serving.opening import ask_once
from whichbits.serving.traffic.content import Asked
from whichbits.serving.workload import parse_workload

pytest.importorskip("aiohttp", reason="aiohttp, of the extra 'measure', is not installed")
pytest.importorskip("transformers")

CHAT = {"name": "test-chat", "prompt_tokens": 48, "output_tokens": 8, "concurrency": [4], "requests_per_stream": 5}
QUICK = {"ttft": 0.05, "itl": 0.01}
USUAL = ServerAbilities()


@pytest.mark.parametrize(
    ("options", "found", "asked"),
    [
        ({}, USUAL, 1),
        ({"token_ids": False}, ServerAbilities(token_ids=False), 4),
        ({"refuses": ["ignore_eos"]}, ServerAbilities(length_by="min_tokens"), 2),
        ({"ends": 1, "keeps": ["min_tokens"]}, ServerAbilities(length_by="min_tokens"), 2),
        (
            {"token_ids": False, "ends": 1, "keeps": ["min_tokens"]},
            ServerAbilities(token_ids=False, length_by="min_tokens"),
            5,
        ),
        (
            {"token_ids": False, "refuses": ["ignore_eos"]},
            ServerAbilities(token_ids=False, length_by="min_tokens"),
            5,
        ),
    ],
)
def test_what_a_server_takes_is_found_by_few_short_requests(start_engine, options, found: ServerAbilities, asked: int) -> None:
    url = start_engine(**QUICK, **options)
    assert ask_once(Connection(url, "m")) == found
    received = httpx.get(f"{url}/received", trust_env=False).json()
    assert len(received) == asked and {one["max_tokens"] for one in received} == {2}


@pytest.mark.parametrize(
    ("options", "how"),
    [
        ({"ends": 1, "keeps": []}, "it made 1 of 2 tokens"),
        ({"refuses": ["ignore_eos", "min_tokens"]}, "it refuses ignore_eos and min_tokens"),
        ({"token_ids": False, "refuses": ["ignore_eos", "min_tokens"]}, "it refuses ignore_eos and min_tokens"),
    ],
)
def test_a_server_that_keeps_to_no_length_is_refused_with_what_can_be_measured(start_engine, options, how: str) -> None:
    with pytest.raises(UserError) as refused:
        ask_once(Connection(start_engine(**QUICK, **options), "m"))
    assert how in refused.value.message
    assert ("evaluate accuracy" in refused.value.remedy) == options.get("token_ids", True), "prompts of tasks are token ids"


def test_requests_to_a_server_of_token_ids_are_as_they_were() -> None:
    asked = Asked([5, 6, 7], 9, text="five six seven")
    body = request_body("m", asked, USUAL)
    assert json.loads(body.sent) == {
        "model": "m", "prompt": [5, 6, 7], "max_tokens": 9, "ignore_eos": True, "temperature": 0.0, "top_p": 1.0,
        "presence_penalty": 0.0, "frequency_penalty": 0.0, "n": 1, "stream": True,
        "stream_options": {"include_usage": True, "continuous_usage_stats": True},
    }  # fmt: skip
    other = json.loads(request_body("m", asked, ServerAbilities(token_ids=False, length_by="min_tokens")).sent)
    assert (other["prompt"], other["min_tokens"], "ignore_eos" in other) == ("five six seven", 9, False)
    assert (body.prompt_tokens, body.output_tokens) == (3, 9)


def test_a_server_of_texts_is_measured_by_texts_of_the_lengths_that_are_asked(start_engine, word_tokenizer: Path) -> None:
    url = start_engine(**QUICK, token_ids=False, ends=1, keeps=["min_tokens"])
    heard: list[tuple[ServerAbilities, int]] = []

    def hear(found: ServerAbilities) -> None:
        heard.append((found, len(httpx.get(f"{url}/received", trust_env=False).json())))

    results = measure(url, "m", word_tokenizer, parse_workload(CHAT), seed=1, on_abilities=hear)
    abilities = ServerAbilities(token_ids=False, length_by="min_tokens")
    assert heard == [(abilities, 5)] and abilities.instead == (AS_TEXT, BY_MIN_TOKENS), "said before any load"
    assert [one.load_level for one in results] == ["synchronous", "concurrency 4"]
    for result in results:
        assert result.evidence.abilities == abilities
        assert result.evidence.prompts_off is None and result.evidence.outputs_off is None
        assert {(row.prompt_tokens, row.output_tokens) for row in result.rows} == {(48, 8)}
    received = httpx.get(f"{url}/received", trust_env=False).json()[5:]
    assert len({tuple(one["prompt"][:16]) for one in received}) == len(received) == 6 + 24
    stored = results[0].evidence.model_dump_json()
    assert Evidence.model_validate_json(stored).abilities == abilities
    assert Evidence.model_validate({**json.loads(stored), "abilities": None}).abilities is None


@pytest.mark.parametrize(("extra", "off"), [(1, None), (3, (5, 48, 51))])
def test_the_servers_own_count_is_the_judge(start_engine, word_tokenizer: Path, extra: int, off) -> None:
    """A start of text that it puts before a prompt is within the tolerance; a tokenizer of its own is not."""
    url = start_engine(**QUICK, token_ids=False, extra_tokens=extra)
    (result,) = measure(url, "m", word_tokenizer, parse_workload({**CHAT, "concurrency": []}), seed=1)
    found = result.evidence.prompts_off
    assert (None if found is None else (found.requests, found.asked, found.counted)) == off
    assert any(reason.startswith("prompt lengths off") for reason in result.reasons) == (off is not None)


def test_what_prompts_share_is_found_in_the_cache_of_a_server_of_texts(start_engine, word_tokenizer: Path) -> None:
    fields = {**CHAT, "synchronous": False, "requests_per_stream": 9, "conversation": {"turns": 3, "user_tokens": 13}}
    workload = parse_workload(fields)
    url = start_engine(**QUICK, token_ids=False, remembers=True)
    (result,) = measure(url, "m", word_tokenizer, workload, seed=1)
    assert result.evidence.prompts_off is None
    assert result.evidence.prefix_cache_hit_rate == pytest.approx(workload.shared, abs=0.1)


def test_batches_of_a_server_of_texts(start_engine, word_tokenizer: Path) -> None:
    from whichbits.serving.prefill_decode import measure_batches

    url = start_engine(ttft=0.05, itl=0.02, token_ids=False)
    heard: list[ServerAbilities] = []
    batches = PrefillDecode(batch_sizes=(2,), prompt_tokens=(64,), context_tokens=(64,), repeats=2, steps=8)
    found = measure_batches(url, "m", word_tokenizer, batches, seed=0, on_abilities=heard.append)
    assert [len(one.seconds) for one in found] == [2, 2]
    assert {one.abilities for one in found} == set(heard) == {ServerAbilities(token_ids=False)}
    assert not [reason for one in found for reason in one.reasons if "lengths" in reason]
