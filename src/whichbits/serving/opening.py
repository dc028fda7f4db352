"""What comes before a measurement: the client's cores, and a first request."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whichbits.core.errors import UserError
from whichbits.engines.errors import EngineError
from whichbits.engines.http.connection import Connection
from whichbits.engines.http.requests import Answer, HttpClient, ServerRefused
from whichbits.engines.http.sse import EventStream
from whichbits.serving.client import Arrivals, StreamError, request_body
from whichbits.serving.traffic.content import Asked

_ASKED_TOKENS = 2
_OF_THE_BODY = (400, 422)
"""Statuses of servers that do not take some field of a request."""


def ask_once(connection: Connection, vocabulary: NDArray[np.int32]) -> None:
    """One short completion, asked for as loads ask, before any load.

    Raises UserError where the server cannot be measured: it refuses, does not stream, counts no tokens, does not keep to a
    length of output, or takes no token ids.
    """
    body = json.loads(request_body(connection.model or "", Asked(vocabulary[:4].tolist(), _ASKED_TOKENS)).sent)
    with HttpClient(connection) as client:
        try:
            arrivals = _arrivals(connection, client.post("/v1/completions", body))
        except ServerRefused as error:
            if error.status in _OF_THE_BODY:
                _check_fields(client, body, error.words)
            raise _no_completion(connection, error) from error
        except (EngineError, StreamError) as error:
            raise _no_completion(connection, error) from error
    made = arrivals.output_tokens
    if made is None or arrivals.prompt_tokens is None or (arrivals.text and made == 0):
        raise UserError(
            f"url {connection.url} sends no usage in its streams, so that tokens cannot be counted",
            remedy="use an engine that takes stream_options with include_usage, as vLLM and SGLang do",
        )
    if made != _ASKED_TOKENS:
        raise _length_not_kept(connection, f"it made {made} of {_ASKED_TOKENS} tokens")


def _arrivals(connection: Connection, answer: Answer) -> Arrivals:
    """What a whole stream has brought. Raises UserError where it is none, EngineError or StreamError where it is an error."""
    stream, arrivals = EventStream(), Arrivals()
    events = [*stream.feed(answer.text.encode()), *stream.end()]
    if not events:
        answer.json()
        raise UserError(
            f"url {connection.url} answers in one piece where a stream is asked for, so that tokens have no times",
            remedy="switch streaming on, or name the server behind the gateway that takes it away",
        )
    for event in events:
        arrivals.take(event, 0.0)
    return arrivals


def _check_fields(client: HttpClient, body: dict[str, Any], words: str) -> None:
    """Raise UserError where a request, refused in these words, is answered without one thing that loads need."""
    connection = client.connection
    if "ignore_eos" in words or _answers(client, {name: value for name, value in body.items() if name != "ignore_eos"}):
        raise _length_not_kept(connection, "it refuses ignore_eos")
    if _answers(client, {**body, "prompt": "Hello"}):
        raise UserError(
            f"url {connection.url} takes no token ids as the prompt, and the lengths of prompts are exact in them alone",
            remedy="use an engine that takes token ids in /v1/completions, as vLLM and SGLang do",
        )


def _answers(client: HttpClient, body: dict[str, Any]) -> bool:
    try:
        client.post("/v1/completions", body)
    except EngineError:
        return False
    return True


def _no_completion(connection: Connection, error: Exception) -> UserError:
    return UserError(
        f"url {connection.url} gives no completion: {error}", remedy="see the server's log; it must serve /v1/completions"
    )


def _length_not_kept(connection: Connection, how: str) -> UserError:
    return UserError(
        f"url {connection.url} does not keep to a length of output ({how}), and speeds of unequal work are not comparable",
        remedy="use an engine that takes ignore_eos, as vLLM and SGLang do, or leave workloads out and evaluate accuracy alone",
    )


@contextmanager
def pinned(cpus: set[int] | None) -> Iterator[frozenset[int]]:
    """Bind this process to `cpus` for the time being; yields the cores it may use."""
    before = os.sched_getaffinity(0)
    if cpus is None:
        yield frozenset(before)
        return
    try:
        os.sched_setaffinity(0, cpus)
    except OSError as error:
        raise UserError(f"cpus {sorted(cpus)} cannot be used: {error}", remedy=f"choose from {sorted(before)}") from error
    try:
        yield frozenset(cpus)
    finally:
        os.sched_setaffinity(0, before)
