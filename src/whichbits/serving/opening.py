"""What comes before a measurement: the client's cores, and a first request."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

from whichbits.core.errors import UserError
from whichbits.engines.errors import EngineError
from whichbits.engines.http.connection import Connection
from whichbits.engines.http.requests import Answer, HttpClient, ServerRefused
from whichbits.engines.http.sse import EventStream
from whichbits.schema.server_abilities import ServerAbilities
from whichbits.serving.client import Arrivals, StreamError, request_body
from whichbits.serving.traffic.content import Asked

OnAbilities = Callable[[ServerAbilities], None]
"""Hears what a server takes."""

_ASKED_TOKENS = 2
_PROMPT, _TEXT = (10, 11, 12, 13), "Hello"
"""Token ids of any vocabulary, or a text."""
_OF_THE_BODY = (400, 422, 500, 501)
"""Statuses of servers that do not take some field of a request; of some it is an error of their own."""
_LENGTHS: tuple[Literal["ignore_eos", "min_tokens"], ...] = ("ignore_eos", "min_tokens")


def ask_once(connection: Connection) -> ServerAbilities:
    """One short completion, asked for as loads ask, before any load; where it is refused, other forms of it in turn.

    Raises UserError where the server cannot be measured: it refuses all forms, does not stream, counts no tokens, or keeps to
    no length of output.
    """
    asked = Asked(_PROMPT, _ASKED_TOKENS, text=_TEXT)
    refusals: list[ServerRefused] = []
    with HttpClient(connection) as client:
        for token_ids in (True, False):
            made: int | None = None
            for length_by in _LENGTHS:
                abilities = ServerAbilities(token_ids=token_ids, length_by=length_by)
                body = json.loads(request_body(connection.model or "", asked, abilities).sent)
                found = _answered(client, body)
                if isinstance(found, ServerRefused):
                    refusals.append(found)
                elif found == _ASKED_TOKENS:
                    return abilities
                else:
                    made = found
            if made is not None:
                raise _length_not_kept(connection, f"it made {made} of {_ASKED_TOKENS} tokens", token_ids=token_ids)
            del body[_LENGTHS[-1]]
            if not isinstance(_answered(client, body), ServerRefused):
                raise _length_not_kept(connection, f"it refuses {' and '.join(_LENGTHS)}", token_ids=token_ids)
    raise _no_completion(connection, refusals[0]) from refusals[0]


def _answered(client: HttpClient, body: dict[str, Any]) -> int | ServerRefused:
    """How many tokens were made, or the refusal of some field. Raises UserError where the answer cannot be measured."""
    connection = client.connection
    try:
        arrivals = _arrivals(connection, client.post("/v1/completions", body))
    except ServerRefused as error:
        if error.status in _OF_THE_BODY:
            return error
        raise _no_completion(connection, error) from error
    except (EngineError, StreamError) as error:
        raise _no_completion(connection, error) from error
    made = arrivals.output_tokens
    if made is None or arrivals.prompt_tokens is None or (arrivals.text and made == 0):
        raise UserError(
            f"url {connection.url} sends no usage in its streams, so that tokens cannot be counted",
            remedy="use an engine that takes stream_options with include_usage, as vLLM and SGLang do",
        )
    return made


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


def _no_completion(connection: Connection, error: Exception) -> UserError:
    return UserError(
        f"url {connection.url} gives no completion: {error}", remedy="see the server's log; it must serve /v1/completions"
    )


def _length_not_kept(connection: Connection, how: str, *, token_ids: bool) -> UserError:
    """What can be measured instead is accuracy, whose prompts are token ids."""
    instead = ", or leave workloads out and evaluate accuracy alone" if token_ids else ""
    return UserError(
        f"url {connection.url} does not keep to a length of output ({how}), and speeds of unequal work are not comparable",
        remedy=f"use an engine that takes ignore_eos or min_tokens, as vLLM and SGLang do{instead}",
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
