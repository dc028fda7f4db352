"""Any OpenAI-compatible server as a language model: token ids in, log-likelihoods or text out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Self, TypeVar
from urllib.parse import urlsplit

import httpx

from whichbits.engines.errors import EngineError

Item = TypeVar("Item")
Result = TypeVar("Result")

MAX_STOP_STRINGS = 4
_ATTEMPTS = 4
_MAX_TOKENS_NAMED = 128  # vLLM's limit on logprob_token_ids
_SCORING: dict[str, Any] = {"max_tokens": 1, "temperature": 0.0, "logprobs": 1, "return_tokens_as_token_ids": True}
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Generation:
    """One generated text; `tokens` counts what the engine produced, `finish_reason` is the engine's."""

    text: str
    tokens: int
    finish_reason: Literal["stop", "length"]


@dataclass(frozen=True)
class PrefixCache:
    """A server's prefix-cache counters since its start, in tokens."""

    queries: float
    hits: float


class Endpoint:
    """A served model.

    max_length: bound on the tokens of prompt and output together. concurrency: how many requests are under way at once.
    url: root of the server, with or without /v1. api_key: sent as a bearer token. timeout: seconds a request may take.
    Only requests that found no connection, or lost it, are repeated; what the server refuses raises EngineError. Results of one
    model at another concurrency can differ in the last bits, and greedy texts with them: hold it fixed in a comparison.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        max_length: int,
        concurrency: int,
        api_key: str | None = None,
        timeout: float = 600.0,
    ) -> None:
        self._root = url.rstrip("/").removesuffix("/v1")
        self._model = model
        self._max_length = max_length
        self._concurrency = concurrency
        self._client = httpx.Client(
            headers={"Authorization": f"Bearer {api_key}"} if api_key else None,
            timeout=httpx.Timeout(timeout, connect=10.0),
            limits=httpx.Limits(max_connections=concurrency),
            trust_env=urlsplit(url).hostname not in _LOOPBACK,  # a proxy from the environment is not for this machine
        )

    @property
    def max_length(self) -> int:
        """Largest number of tokens of prompt and output together."""
        return self._max_length

    @property
    def concurrency(self) -> int:
        """Number of requests under way at once."""
        return self._concurrency

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def loglikelihood(self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[tuple[float, bool]]:
        """Log-likelihood (nats) of each continuation after its context (both token ids), and whether it is the greedy one.

        Raises ValueError where context and continuation together exceed `max_length`, or the context is empty.
        """
        for context, continuation in pairs:
            self._check_length(context, len(continuation))
        return self._map(self._score, pairs)

    def next_token_logprobs(self, contexts: Sequence[Sequence[int]], token_ids: Sequence[Sequence[int]]) -> list[list[float]]:
        """Log-probability (nats) of each given token as the next one after each context.

        For choices of one token each this gives `loglikelihood`'s sums in one request a context, without the prompt's own
        log-probabilities, which cost a pass through the vocabulary a token. Needs vLLM's `logprob_token_ids`; raises
        EngineError where the server does not know it.
        """
        for context in contexts:
            self._check_length(context, 1)
        return self._map(self._score_next, list(zip(contexts, token_ids, strict=True)))

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        max_tokens: int,
        stop: Sequence[str] = (),
        temperature: float = 0.0,
        seed: int = 0,
    ) -> list[Generation]:
        """Continue each prompt (token ids) until a stop string, the end-of-sequence token or `max_tokens`.

        At most 4 stop strings go to the server (it refuses more); the caller cuts the text at the others. A text does not hold
        the stop string that ended it. Raises ValueError where prompt and `max_tokens` together exceed `max_length`.
        """
        for prompt in prompts:
            self._check_length(prompt, max_tokens)
        options: dict[str, Any] = {"max_tokens": max_tokens, "temperature": temperature, "seed": seed}
        if stop:
            options["stop"] = list(stop[:MAX_STOP_STRINGS])
        return self._map(lambda prompt: self._continue(prompt, options), prompts)

    def prefix_cache(self) -> PrefixCache | None:
        """The server's prefix-cache counters, None where it has none."""
        response = self._client.get(f"{self._root}/metrics")
        if response.status_code != 200:
            return None
        counters = {"queries": 0.0, "hits": 0.0}
        seen = False
        for line in response.text.splitlines():
            for name in counters:
                if line.startswith(f"vllm:prefix_cache_{name}_total"):
                    counters[name] += float(line.rpartition(" ")[2])
                    seen = True
        return PrefixCache(**counters) if seen else None

    def _check_length(self, prompt: Sequence[int], more: int) -> None:
        if not prompt:
            raise ValueError("the context is empty")
        if len(prompt) + more > self._max_length:
            raise ValueError(f"{len(prompt)} tokens of context and {more} more exceed the engine's {self._max_length}")

    def _map(self, function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """`function` of each item in order, `concurrency` at once; the first error ends it."""
        pool = ThreadPoolExecutor(self._concurrency)
        try:
            return list(pool.map(function, items))
        finally:
            pool.shutdown(cancel_futures=True)

    @cached_property
    def _scores_given_tokens(self) -> bool:
        """Whether the server returns log-probabilities of tokens that we name (vLLM's `logprob_token_ids`)."""
        try:
            self._score_next(([0], [0, 1]))
        except EngineError:
            return False
        return True

    def _score(self, pair: tuple[Sequence[int], Sequence[int]]) -> tuple[float, bool]:
        """Of the prompt's tokens by echo; the last token, where the server can, as the next one after all others.

        That saves the echo for continuations of one token, and fits where context and continuation fill `max_length`.
        """
        context, continuation = pair
        if not continuation:
            return 0.0, True
        prompt, options = [*context, *continuation], dict(_SCORING)
        if self._scores_given_tokens:
            options |= {"logprob_token_ids": [prompt.pop()]}
        options["echo"] = len(prompt) > len(context)
        logprobs = self._complete(prompt, options)
        start = len(context) if options["echo"] else 0
        where = slice(start, start + len(continuation))
        tokens, own, best = (logprobs[field][where] for field in ("tokens", "token_logprobs", "top_logprobs"))
        if self._scores_given_tokens:
            sampled, last = tokens[-1], _token(continuation[-1])
            own, best = [*own[:-1], best[-1][last]], [*best[:-1], {sampled: best[-1][sampled]}]
        if len(own) != len(continuation) or None in own:
            raise EngineError("the server does not return log-probabilities of the prompt's tokens (echo with logprobs)")
        return float(sum(own)), all(mine >= max(top.values()) for mine, top in zip(own, best, strict=True))

    def _score_next(self, item: tuple[Sequence[int], Sequence[int]]) -> list[float]:
        context, token_ids = item
        asked = list(dict.fromkeys(token_ids))
        found: dict[str, float] = {}
        for start in range(0, len(asked), _MAX_TOKENS_NAMED):
            options = {**_SCORING, "logprob_token_ids": asked[start : start + _MAX_TOKENS_NAMED]}
            found |= self._complete(list(context), options)["top_logprobs"][0]
        try:
            return [found[_token(token)] for token in token_ids]
        except KeyError:
            raise EngineError("the server does not return log-probabilities of given tokens (logprob_token_ids)") from None

    def _continue(self, prompt: Sequence[int], options: dict[str, Any]) -> Generation:
        body = self._post({"prompt": list(prompt), **options})
        choice = body["choices"][0]
        reason: Literal["stop", "length"] = "length" if choice["finish_reason"] == "length" else "stop"
        return Generation(choice["text"], body["usage"]["completion_tokens"], reason)

    def _complete(self, prompt: list[int], options: dict[str, Any]) -> dict[str, Any]:
        logprobs: dict[str, Any] | None = self._post({"prompt": prompt, **options})["choices"][0].get("logprobs")
        if not logprobs:
            raise EngineError("the server does not return log-probabilities")
        return logprobs

    def _post(self, payload: dict[str, Any]) -> dict[str, Any]:
        address = f"{self._root}/v1/completions"
        for attempt in range(_ATTEMPTS):
            try:
                response = self._client.post(address, json={"model": self._model, **payload})
                break
            except (httpx.ConnectError, httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError) as error:
                if attempt == _ATTEMPTS - 1:
                    raise EngineError(f"no connection to {address}: {error}") from error
                time.sleep(0.5 * 2**attempt)
            except httpx.TimeoutException as error:
                raise EngineError(f"{address} did not answer in time ({type(error).__name__})") from error
        if response.status_code != 200:
            raise EngineError(f"{address} answered {response.status_code}: {_message(response)}")
        body: dict[str, Any] = response.json()
        return body


def _token(token_id: int) -> str:
    return f"token_id:{token_id}"


def _message(response: httpx.Response) -> str:
    """What a server's refusal says, in one line."""
    try:
        body = response.json()
    except ValueError:
        body = response.text
    if isinstance(body, dict):
        error = body.get("error", body)
        body = error.get("message", error) if isinstance(error, dict) else error
    return " ".join(str(body).split())[:400]
