"""Answers that have no end: bytes, time and depth have limits, and what passes them is said in a line."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from whichbits.engines.errors import EngineError
from whichbits.engines.http import requests, sse
from whichbits.engines.http.connection import Connection
from whichbits.engines.http.requests import HttpClient
from whichbits.engines.http.retry import NO_PATIENCE

JSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
TOKEN = b'data: {"choices": [{"index": 0, "text": "x"}]}\n\n'


@pytest.fixture
def endless() -> Iterator[Callable[..., str]]:
    """A server that sends a beginning and then the same part for ever, until the client hangs up; gives its address."""
    listeners: list[socket.socket] = []

    def serve(listener: socket.socket, beginning: bytes, part: bytes, pause: float) -> None:
        try:
            peer, _ = listener.accept()
            with peer:
                peer.recv(65536)
                peer.sendall(beginning)
                while True:
                    peer.sendall(part)
                    time.sleep(pause)
        except OSError:
            pass

    def start(beginning: bytes, part: bytes, pause: float = 0.0) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)
        threading.Thread(target=serve, args=(listener, beginning, part, pause), daemon=True).start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield start
    for listener in listeners:
        listener.close()


def asked(url: str) -> str:
    """What is said of an answer that does not end."""
    with (
        HttpClient(Connection(url, "m", timeout_s=0.5), patience=NO_PATIENCE) as client,
        pytest.raises(EngineError) as error,
    ):
        client.post("/v1/completions", {"model": "m", "prompt": [1, 2], "max_tokens": 1}).json()
    return str(error.value)


def test_a_body_without_end(endless: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "MOST_BYTES", 2**22)
    assert "more than 4 MiB" in asked(endless(JSON + b"[", b"1," * 2**15))


def test_a_body_that_trickles(endless: Callable[..., str]) -> None:
    """Some proxies send blanks while they wait, and no silence is ever long."""
    assert "did not end its answer within 0.5 s" in asked(endless(JSON, b" ", 0.05))


def test_a_body_that_is_too_deep(fake: Callable[..., object]) -> None:
    server = fake(change=lambda body, request: '{"choices": ' + "[" * 100_000)
    assert "not JSON" in asked(server.url)  # type: ignore[attr-defined]


def streamed(url: str, output_tokens: int = 4) -> str | None:
    pytest.importorskip("aiohttp", reason="aiohttp, of the extra 'measure', is not installed")
    from whichbits.serving.client import Body, open_session, send

    connection = Connection(url, "m", timeout_s=0.5)

    async def one() -> str | None:
        async with open_session(connection) as session:
            body = Body(b"{}", prompt_tokens=1, output_tokens=output_tokens)
            seen = await send(session, connection, body, request=0, warmup=False, zero=0.0, target=0.0)
            return seen.error

    return asyncio.run(asyncio.wait_for(one(), 20))


@pytest.mark.parametrize(
    ("beginning", "part", "pause", "words"),
    [
        (STREAM, b": ping\n\n", 0.05, "no token arrived for 0.5 s"),
        (STREAM + TOKEN, b"data:\n\n", 0.05, "no token arrived for 0.5 s"),
        (STREAM, TOKEN, 0.001, "far beyond the 4 tokens"),
        (STREAM, b"data: " + b"x" * 2**16 + b"\n", 0.0, "an event of more than 1 MiB"),
        (STREAM + b"data: ", b"x" * 2**16, 0.0, "an event of more than 1 MiB"),
        (STREAM, b"data: " + b"[" * 50_000 + b"\n\n", 0.01, "not JSON"),
        (b"HTTP/1.1 500 X\r\n\r\n", b"out of order ", 0.0, "answered 500: out of order"),
    ],
)
def test_streams_without_end(
    endless: Callable[..., str], monkeypatch: pytest.MonkeyPatch, beginning: bytes, part: bytes, pause: float, words: str
) -> None:
    monkeypatch.setattr(sse, "MOST_BYTES", 2**20)
    assert words in (streamed(endless(beginning, part, pause)) or "")
