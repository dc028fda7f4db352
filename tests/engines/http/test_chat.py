"""Conversations with a real server: order, key, refusals, and the names of the limit."""

from __future__ import annotations

import runpy
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from whichbits.engines.errors import EngineError
from whichbits.engines.http.access import Access
from whichbits.engines.http.chat import Chat, ChatReply
from whichbits.engines.http.connection import Connection
from whichbits.engines.http.retry import NO_PATIENCE, Patience

SCRIPT = Path(__file__).parents[1] / "judge_server.py"


@pytest.fixture
def judge() -> Iterator[Callable[..., Any]]:
    script = runpy.run_path(str(SCRIPT))
    running: list[Any] = []

    def start(**options: Any) -> Any:
        server = script["JudgeServer"](**options)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        running.append(server)
        return server

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


def chat(url: str, *, key: str | None = None, patience: Patience = NO_PATIENCE) -> Chat:
    return Chat(Connection(url, "judge", Access(key)), max_tokens=50, temperature=0.0, concurrency=4, patience=patience)


def asked(a: str, b: str, question: str = "Why?") -> list[dict[str, str]]:
    text = (
        f"<|User Prompt|>\n{question}\n\n<|The Start of Assistant A's Answer|>\n{a}\n<|The End of Assistant A's Answer|>\n\n"
        f"<|The Start of Assistant B's Answer|>\n{b}\n<|The End of Assistant B's Answer|>"
    )
    return [{"role": "system", "content": "Judge."}, {"role": "user", "content": text}]


def test_answers_are_in_the_order_of_the_conversations(judge) -> None:
    server = judge()
    conversations = [asked("good " * (n % 3), "good") for n in range(24)]
    told: dict[int, ChatReply] = {}
    with chat(server.url) as one:
        found = one.replies(conversations, seeds=range(24), answered=told.__setitem__)
    assert [reply.text.rpartition("[[")[2][:-2] for reply in found] == ["B>A", "A=B", "A>B"] * 8
    assert found[0] == ChatReply(found[0].text, 100, 10)
    assert [told[place] for place in range(24)] == found
    assert {request["seed"] for request in server.received} == set(range(24))
    assert {(request["model"], request["max_tokens"], request["temperature"]) for request in server.received} == {
        ("judge", 50, 0.0)
    }


def test_the_key_is_sent_and_refusals_are_told(judge) -> None:
    server = judge(key="secret")
    with chat(server.url, key="secret") as one:
        assert len(one.replies([asked("a", "b")], seeds=[0])) == 1
    with chat(server.url, key="other") as one, pytest.raises(EngineError, match="401: wrong key"):
        one.replies([asked("a", "b")] * 3, seeds=[0, 1, 2])


def test_a_busy_judge_is_asked_again(judge) -> None:
    server = judge(refusals=[429, 503, 408, 425, 522, 529])
    with chat(server.url, patience=Patience(first_s=0.01, longest_s=0.02, total_s=1)) as one:
        assert len(one.replies([asked("a", "b")], seeds=[0])) == 1


def test_a_model_that_takes_max_completion_tokens(judge) -> None:
    server = judge(newer=True)
    with chat(server.url) as one:
        assert len(one.replies([asked("a", "b")] * 3, seeds=[0, 1, 2])) == 3
    assert all(request["max_completion_tokens"] == 50 and "max_tokens" not in request for request in server.received)
