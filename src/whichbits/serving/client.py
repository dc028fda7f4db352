"""One streamed completion: sent, and watched as it arrives.

Tokens are counted by the server's running usage (`continuous_usage_stats`), so that a first token that decodes to nothing
(a special token, half a character) counts. From the first chunk on that has text and no usage, a chunk with text is an arrival
of tokens, and the last usage says how many they were.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import aiohttp

from whichbits.engines.errors import EngineError
from whichbits.engines.http.connection import CONNECT_TIMEOUT_S, Connection
from whichbits.engines.http.requests import parse_json, refusal, short, words_of
from whichbits.engines.http.sampling import STANDARD
from whichbits.engines.http.sse import Event, EventStream
from whichbits.schema.server_abilities import ServerAbilities
from whichbits.serving.observation import Observation
from whichbits.serving.traffic.content import Asked

KEEP_ALIVE_S = 2.0
"""Longest idle time of a connection that is used again; servers hang up after five seconds or more."""

_KEPT_BYTES = 4096
"""Of an answer without events, for the error."""


_TOO_MANY, _SOME = 2, 64
"""How many times the tokens that were asked for, and how many more, end a stream that goes on."""


class StreamError(Exception):
    """A stream that is not an answer; the message is one line with the server's words."""


def open_session(connection: Connection) -> aiohttp.ClientSession:
    """A session by the connection's rules, without a limit on requests at once. To be opened in the loop that uses it."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=connection.tls or True, keepalive_timeout=KEEP_ALIVE_S),
        headers=dict(connection.headers),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=connection.timeout_s),
        trust_env=False,
        cookie_jar=aiohttp.DummyCookieJar(),
    )


@dataclass(frozen=True)
class Body:
    """A request as it is sent, and the lengths that it asks for."""

    sent: bytes
    prompt_tokens: int
    output_tokens: int


def request_body(model: str, asked: Asked, abilities: ServerAbilities) -> Body:
    """The request as JSON: greedy, streamed with running usage; of output exactly, or at most, so many tokens.

    The prompt is token ids, or of a server that takes none its text.
    """
    match abilities.length_by:
        case "ignore_eos":
            length: dict[str, int | bool] = {"ignore_eos": asked.forced}
        case "min_tokens":
            length = {"min_tokens": asked.output_tokens if asked.forced else 0}
    body = {
        "model": model,
        "prompt": asked.prompt if abilities.token_ids else asked.text,
        "max_tokens": asked.output_tokens,
        **length,
        "temperature": 0.0,
        **STANDARD,
        "stream": True,
        "stream_options": {"include_usage": True, "continuous_usage_stats": True},
    }
    return Body(json.dumps(body, separators=(",", ":")).encode(), len(asked.prompt), asked.output_tokens)


class Arrivals:
    """What has arrived of one answer: times of the chunks with tokens, and the server's counts."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.prompt_tokens: int | None = None
        self.output_tokens: int | None = None
        self.text = False
        """Whether some chunk had text."""
        self._counted = 0
        self._running = True
        self._done = False

    def take(self, event: Event, now: float) -> None:
        """An event that arrived at `now`; after `[DONE]` none counts. Raises StreamError for no part of a completion."""
        data = event.data
        self._done = self._done or data == "[DONE]"
        if self._done:
            return
        if event.error:
            raise StreamError(f"an error within the stream: {words_of(data) or 'it does not say which'}")
        try:
            chunk = json.loads(data)
        except (ValueError, RecursionError):
            raise StreamError(f"the stream holds what is not JSON: {short(data)[:200]!r}") from None
        if not isinstance(chunk, dict):
            raise StreamError(f"the stream holds {type(chunk).__name__} instead of an object")
        if chunk.get("error") or chunk.get("object") == "error" or ("choices" not in chunk and "message" in chunk):
            raise StreamError(f"an error within the stream: {_words(chunk)}")
        usage = chunk.get("usage")
        made = usage.get("completion_tokens") if isinstance(usage, dict) else None
        if isinstance(usage, dict):
            self._count(usage)
        choices = chunk.get("choices")
        if not choices:
            return
        if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], dict):
            raise StreamError("a chunk of the stream holds several choices, or none that can be read")
        if choices[0].get("finish_reason") in ("abort", "error"):
            raise StreamError(f"the server ended the stream with finish_reason {choices[0]['finish_reason']!r}")
        text = bool(choices[0].get("text"))
        self.text = self.text or text
        if isinstance(made, int):
            if self._running:
                text, self._counted = made > self._counted, max(made, self._counted)
        elif text:
            self._running = False
        if text:
            self.times.append(now)

    def _count(self, usage: dict[str, Any]) -> None:
        for name, field in (("prompt_tokens", "prompt_tokens"), ("completion_tokens", "output_tokens")):
            value = usage.get(name)
            if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
                if value < (getattr(self, field) or 0):
                    raise StreamError(f"the server's {name} went back from {getattr(self, field)} to {value}")
                setattr(self, field, value)

    def check(self) -> None:
        """Raise StreamError where the answer, now complete, does not say how many tokens it is."""
        if self.output_tokens is None or self.prompt_tokens is None:
            raise StreamError("the server sent no token usage")
        if self.text and not self.output_tokens:
            raise StreamError("the server counted 0 tokens of output for a text that is not empty")
        if self.output_tokens and not self.times:
            raise StreamError(f"the server counted {self.output_tokens} tokens, and none arrived in the stream")


async def send(
    session: aiohttp.ClientSession,
    connection: Connection,
    body: Body,
    *,
    request: int,
    warmup: bool,
    zero: float,
    target: float,
) -> Observation:
    """Send one request and watch its stream; the observation's times are seconds since `zero`.

    What goes wrong is the observation's error. Nothing is sent twice.
    """
    arrivals, error = Arrivals(), None
    start = time.perf_counter()
    try:
        await _receive(session, connection, body, arrivals)
        arrivals.check()
    except (StreamError, EngineError) as failure:
        error = str(failure)
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as failure:
        error = f"no answer from {connection.url}/v1/completions: {str(failure) or type(failure).__name__}"
    end = time.perf_counter()
    times = arrivals.times
    return Observation(
        request=request,
        warmup=warmup,
        target_s=target - zero,
        start_s=start - zero,
        first_token_s=times[0] - zero if times else None,
        last_token_s=times[-1] - zero if times else None,
        end_s=end - zero,
        prompt_tokens=arrivals.prompt_tokens or 0,
        output_tokens=arrivals.output_tokens or 0,
        chunks=len(times),
        gaps_s=tuple(later - earlier for earlier, later in pairwise(times)),
        error=error,
        asked_prompt_tokens=body.prompt_tokens,
        asked_output_tokens=body.output_tokens,
    )


async def _receive(session: aiohttp.ClientSession, connection: Connection, body: Body, arrivals: Arrivals) -> None:
    address = f"{connection.url}/v1/completions"
    began = time.perf_counter()
    async with session.post(
        address,
        data=body.sent,
        headers={"Content-Type": "application/json"},
        proxy=connection.proxy,
        allow_redirects=False,
    ) as reply:
        if reply.status != 200:
            said = b""
            while len(said) < _KEPT_BYTES and (received := await reply.content.read(_KEPT_BYTES)):
                said += received
            raise refusal(address, reply.status, said.decode("utf-8", "replace"), reply.headers.get("Location", ""))
        events, kept, some = EventStream(), b"", False
        while received := await reply.content.readany():
            now = time.perf_counter()
            for event in events.feed(received):
                some = True
                arrivals.take(event, now)
            if now - (arrivals.times[-1] if arrivals.times else began) > connection.timeout_s:
                raise StreamError(f"no token arrived for {connection.timeout_s:g} s, though the stream went on")
            if max(len(arrivals.times), arrivals.output_tokens or 0) > _TOO_MANY * body.output_tokens + _SOME:
                raise StreamError(f"the server goes on far beyond the {body.output_tokens} tokens that were asked for")
            if not some and len(kept) < _KEPT_BYTES:
                kept += received[:_KEPT_BYTES]
        now = time.perf_counter()
        for event in events.end():
            some = True
            arrivals.take(event, now)
        if not some:
            answer = parse_json(kept.decode("utf-8", "replace"), address, reply.headers.get("Content-Type", ""))
            raise StreamError(
                f"{address} answered without a stream, in one object with {', '.join(list(answer)[:6]) or 'nothing'}"
            )


def _words(chunk: dict[str, Any]) -> str:
    error = chunk.get("error") or chunk
    message = error.get("message") or error if isinstance(error, dict) else error
    return short(message if isinstance(message, str) else json.dumps(message))
