"""Who answers at an address, and whether it is still the same."""

from __future__ import annotations

import pytest

from whichbits.core.errors import UserError
from whichbits.engines.http.access import Access
from whichbits.engines.http.connection import Connection
from whichbits.engines.http.identity import changed, identify, reach, snapshot
from whichbits.engines.http.prometheus import parse_metrics
from whichbits.schema.engine import EngineIdentity


def test_the_only_model_is_taken(fake) -> None:
    server = fake(models=[{"id": "acme/Tiny-7B"}])
    assert reach(Connection(f"{server.url}/v1")).model == "acme/Tiny-7B"


def test_of_several_models_one_must_be_named(fake) -> None:
    server = fake(models=[{"id": "a"}, {"id": "b"}])
    with pytest.raises(UserError, match="2 models: a, b") as caught:
        reach(Connection(server.url))
    assert "--served-model-name" in caught.value.remedy
    assert reach(Connection(server.url, "b")).model == "b"
    with pytest.raises(UserError, match="'c' is not served") as caught:
        reach(Connection(server.url, "c"))
    assert "a, b" in caught.value.remedy


@pytest.mark.parametrize("models", [[], [{"name": "a"}], ["a"], [{"id": None}]])
def test_lists_that_are_none(fake, models) -> None:
    with pytest.raises(UserError, match="models"):
        reach(Connection(fake(models=models).url))


@pytest.mark.parametrize("page", ["<html>Sign in</html>", '{"data": [', '["m"]', '{"error": {"message": "no licence"}}'])
def test_what_is_no_list_of_models(fake, page: str) -> None:
    server = fake(pages={"/v1/models": page})
    with pytest.raises(UserError, match="gives no list of models"):
        reach(Connection(server.url))


@pytest.mark.parametrize(
    ("entry", "pages", "expected"),
    [
        ({"owned_by": "vllm", "max_model_len": 64, "root": "o/m"}, {"/version": {"version": "0.11"}},
         ("vllm", "0.11", 64, "o/m")),
        ({"owned_by": "vllm"}, {"/version": {"version": "0.32"}, "/metrics":
          'vllm:cache_config_info{block_size="128",cache_dtype="fp8",engine="0"} 1.0\n'}, ("vllm", "0.32", None, None, "fp8")),
        ({"owned_by": "sglang"}, {"/get_server_info": {"model_path": "m", "version": "0.5", "context_length": 32,
                                                      "kv_cache_dtype": "fp8_e5m2"}}, ("sglang", "0.5", 32, None, "fp8_e5m2")),
        ({"owned_by": "llamacpp", "meta": {"n_ctx": 512}},
         {"/props": {"default_generation_settings": {"n_ctx": 256}, "build_info": "b7"}}, ("llama.cpp", "b7", 512, None)),
        ({"owned_by": "library"}, {"/api/version": {"version": "0.9"}}, ("ollama", "0.9", None, None)),
        ({}, {}, (None, None, None, None)),
        ({}, {"/version": "<html></html>"}, (None, None, None, None)),
    ],
)  # fmt: skip
def test_engines_by_what_they_tell(fake, entry, pages, expected) -> None:
    server = fake(models=[{"id": "m", **entry}], pages=pages)
    found = identify(Connection(server.url))
    assert found == EngineIdentity(server.url, "m", *expected)


def test_identity_needs_the_key_and_does_not_hold_it(fake) -> None:
    server = fake(key="sk-hush")
    with pytest.raises(UserError, match=r"401.*OPENAI_API_KEY"):
        identify(Connection(server.url))
    found = identify(Connection(server.url, access=Access("sk-hush")))
    assert found.version == "1.2" and "hush" not in repr(found)


def test_a_server_that_changes(fake) -> None:
    server = fake()
    before = snapshot(Connection(server.url))
    assert changed(before, snapshot(Connection(server.url))) is None
    for change in (
        {"models": [{"id": "m", "owned_by": "vllm", "max_model_len": 64, "root": "org/other"}]},
        {"pages": {"/version": {"version": "1.3"}, "/metrics": "process_start_time_seconds 5.0\n"}},
        {"pages": {"/version": {"version": "1.2"}, "/metrics": "process_start_time_seconds 99.0\n"}},
    ):
        kept = {name: getattr(server, name) for name in change}
        for name, value in change.items():
            setattr(server, name, value)
        assert changed(before, snapshot(Connection(server.url)))
        for name, value in kept.items():
            setattr(server, name, value)
    assert changed(before, snapshot(Connection(server.url))) is None


def test_a_counter_that_goes_back_shows_a_new_start(fake) -> None:
    server = fake(pages={"/metrics": 'vllm:generation_tokens_total{engine="0"} 50.0\n'})
    before = snapshot(Connection(server.url))
    server.pages = {"/metrics": 'vllm:generation_tokens_total{engine="0"} 80.0\n'}
    assert changed(before, snapshot(Connection(server.url))) is None
    server.pages = {"/metrics": 'vllm:generation_tokens_total{engine="0"} 3.0\n'}
    assert "vllm:generation_tokens_total" in str(changed(before, snapshot(Connection(server.url))))


def test_metrics() -> None:
    text = '# HELP x\na_total{l="a b"} 1.5\na_total{l="c"} 2 1700000000\n\nb NaN\nodd line\nc x\n'
    found = parse_metrics(text)
    assert found["a_total"] == 3.5 and "c" not in found and found["b"] != found["b"]
