"""Scoring and measuring at an address, through the API, by a server in a thread of this process."""

from __future__ import annotations

import json
import runpy
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import whichbits
from whichbits.core.errors import UserError

pytest.importorskip("lm_eval", reason="lm-evaluation-harness, of the extra 'measure', is not installed")


@pytest.fixture
def start() -> Iterator[Callable[..., Any]]:
    fake, started = runpy.run_path(str(Path(__file__).parents[2] / "engines" / "fake_server.py"))["FakeServer"], []

    def begin(**options: Any) -> Any:
        started.append(fake(**options))
        threading.Thread(target=started[-1].serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return started[-1]

    yield begin
    for one in started:
        one.shutdown()
        one.server_close()


@pytest.fixture
def server(start: Callable[..., Any]) -> Any:
    return start(key="sk-hush", models=[{"id": "org/a"}, {"id": "org/b"}])


@pytest.fixture
def choices(tmp_path: Path) -> str:
    rows = [{"question": f"Number {n} is", "choices": ["even", "odd"], "answer": n % 2} for n in range(6)]
    (tmp_path / "parity.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    return str(tmp_path / "parity.jsonl")


def test_a_model_of_several_is_scored_with_a_key_and_past_a_proxy(
    server: Any, choices: str, tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-hush")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    store = tmp_path / "store"
    (row,) = whichbits.evaluate(str(tiny_llama), [choices], url=f"{server.url}/v1", served_model_name="org/b", store=store)
    assert row.n == 6 and {request["model"] for request in server.received} == {"org/b"}
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert written and not any(b"sk-hush" in text for text in written)


def test_what_does_not_go_together(tiny_llama: Path) -> None:
    with pytest.raises(UserError, match="served_model_name"):
        whichbits.bench(str(tiny_llama), ["8/4"], served_model_name="m")
    with pytest.raises(UserError, match="candidate_url"):
        whichbits.compare(str(tiny_llama), str(tiny_llama), url="http://127.0.0.1:9")
    with pytest.raises(UserError, match="emulated"):
        whichbits.evaluate(str(tiny_llama), ["arc_easy"], url="http://127.0.0.1:9", emulated=True)
    with pytest.raises(UserError, match="OPENAI_API_KEY") as caught:
        whichbits.bench(str(tiny_llama), ["8/4"], url="http://me:hush@127.0.0.1:9")
    assert "hush" not in str(caught.value)


def test_a_candidate_whose_server_rounds_keys_and_values_is_refused(tiny_llama: Path, tmp_path: Path, start: Any) -> None:
    settings = 'vllm:cache_config_info{block_size="16",cache_dtype="fp8"} 1.0\n'
    one, other = start(), start(pages={"/version": {"version": "1.2"}, "/metrics": settings})
    with pytest.raises(UserError, match=r"fp8.*16 bit"):
        whichbits.compare(str(tiny_llama), str(tiny_llama), url=one.url, candidate_url=other.url, store=tmp_path / "store")
    assert not one.received and not other.received
