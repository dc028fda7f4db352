"""Conversations with a model behind an OpenAI-compatible address, as judges have them: text in, text out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Self

from whichbits.engines.errors import EngineError
from whichbits.engines.http.connection import Connection
from whichbits.engines.http.requests import HttpClient, ServerRefused
from whichbits.engines.http.retry import Patience

PATIENCE = Patience(total_s=600.0, lost_s=60.0)
"""A judge is often another's server with a limit of requests a minute: it is waited for."""


@dataclass(frozen=True)
class ChatReply:
    """An answer, and the tokens that the server counted; 0 where it does not say."""

    text: str
    prompt_tokens: int
    tokens: int


class Chat:
    """Answers of one model, several at once, each up to `max_tokens` tokens."""

    def __init__(
        self, connection: Connection, *, max_tokens: int, temperature: float, concurrency: int, patience: Patience = PATIENCE
    ) -> None:
        self._options: dict[str, Any] = {"model": connection.model, "temperature": temperature, "n": 1}
        self._max_tokens = max_tokens
        self._limit_name = "max_tokens"
        self._concurrency = concurrency
        self._client = HttpClient(connection, max_connections=concurrency, patience=patience)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def replies(
        self,
        conversations: Sequence[Sequence[Mapping[str, str]]],
        *,
        seeds: Sequence[int],
        answered: Callable[[int, ChatReply], None] = lambda place, reply: None,
    ) -> list[ChatReply]:
        """The answer to each conversation (role, content), with a seed each; `answered` is told each as it comes, one by one.

        Raises EngineError where the server refuses, cannot be reached, or answers with no text.
        """
        lock = threading.Lock()

        def reply_to(one: tuple[int, Sequence[Mapping[str, str]], int]) -> ChatReply:
            place, conversation, seed = one
            reply = self._reply(conversation, seed)
            with lock:
                answered(place, reply)
            return reply

        with ThreadPoolExecutor(self._concurrency) as pool:
            try:
                return list(pool.map(reply_to, zip(range(len(conversations)), conversations, seeds, strict=True)))
            except EngineError:
                self._client.stop_waiting()
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _reply(self, conversation: Sequence[Mapping[str, str]], seed: int) -> ChatReply:
        body = {**self._options, "messages": [dict(message) for message in conversation], "seed": seed}
        name = self._limit_name
        try:
            answer = self._client.post("/v1/chat/completions", {**body, name: self._max_tokens}).json()
        except ServerRefused as error:
            if name != "max_tokens" or "max_completion_tokens" not in error.words:
                raise
            self._limit_name = "max_completion_tokens"  # OpenAI's newer models
            answer = self._client.post("/v1/chat/completions", {**body, self._limit_name: self._max_tokens}).json()
        return _parsed(answer)


def _parsed(answer: Mapping[str, Any]) -> ChatReply:
    choices = answer.get("choices")
    message = (
        choices[0].get("message") if isinstance(choices, list) and len(choices) == 1 and isinstance(choices[0], dict) else None
    )
    if not isinstance(message, dict):
        raise EngineError("the server answered a conversation without the one message that was asked for")
    text, usage = message.get("content"), answer.get("usage")
    counted = usage if isinstance(usage, dict) else {}
    read, made = (
        value if isinstance(value := counted.get(name), int) else 0 for name in ("prompt_tokens", "completion_tokens")
    )
    return ChatReply(text if isinstance(text, str) else "", read, made)
