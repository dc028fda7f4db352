"""Any OpenAI-compatible server as a language model: token ids in, log-likelihoods or text out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import nullcontext
from typing import Any, Protocol, Self, TypeVar

from whichbits.engines.errors import EngineError
from whichbits.engines.http.access import OPEN, Access
from whichbits.engines.http.completion import Completion, Generation, check_one_model, generation_of, parse_completion
from whichbits.engines.http.connection import Connection
from whichbits.engines.http.identity import Snapshot, changed, reach, snapshot
from whichbits.engines.http.logprobs import (
    TokenLogprob,
    check_distribution,
    check_echo,
    check_own,
    check_varied,
    parse_logprobs,
)
from whichbits.engines.http.requests import HttpClient, ServerRefused
from whichbits.engines.http.retry import PASSING, Patience
from whichbits.engines.http.sampling import EXTENSIONS, STANDARD
from whichbits.engines.http.scoring import (
    MAX_TOKENS_NAMED,
    NOTHING,
    NotGiven,
    Pair,
    Score,
    ScoringRequest,
    given_logprob,
    scoring_requests,
)
from whichbits.engines.http.slots import Slots

__all__ = ["Endpoint", "Generation", "TokenTexts"]

Item = TypeVar("Item")
Result = TypeVar("Result")

MAX_STOP_STRINGS = 4
_SCORING: dict[str, Any] = {"max_tokens": 1, "temperature": 0.0, "logprobs": 1, "return_tokens_as_token_ids": True}


class TokenTexts(Protocol):
    """The part of a tokenizer that reads what servers say in texts instead of token ids."""

    def decode(self, token_ids: list[int]) -> str:
        """Text of token ids."""
        ...

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        """Token ids of a text."""
        ...

    def convert_ids_to_tokens(self, ids: int) -> str | list[str]:
        """The vocabulary's own name of a token."""
        ...


class Endpoint:
    """A served model, from which every answer is checked against what was asked.

    url, model, access: as in `Connection`; model None stands for the only one that the server lists.
    max_length: bound on the tokens of prompt and output together.
    concurrency: how many requests are under way at once.
    tokenizer: gives the model's tokenizer, for servers that name texts instead of ids or count no tokens.
    patience: how long a request that was refused for a passing reason, or that lost its connection, is tried again.
    slots: turns at the server, where other processes ask it too; closed together with the connections.
    watch: as a context manager, raise EngineError at the end where the server is not the one that it was at the beginning.

    What the server refuses, and an answer that is not one to the request, raise EngineError. Results of one
    model at another concurrency can differ in the last bits, and greedy texts with them: hold it fixed in a comparison.
    """

    def __init__(
        self,
        url: str,
        model: str | None,
        *,
        max_length: int,
        concurrency: int,
        access: Access = OPEN,
        tokenizer: Callable[[], TokenTexts] | None = None,
        patience: Patience | None = None,
        watch: bool = False,
        slots: Slots | None = None,
    ) -> None:
        connection = Connection(url, model, access)
        self._connection = connection if model is not None else reach(connection)
        self._max_length = max_length
        self._concurrency = concurrency
        self._load_tokenizer = tokenizer
        self._client = HttpClient(self._connection, max_connections=concurrency, patience=patience)
        self._watch = watch
        self._slots = slots
        self._before: Snapshot | None = None
        self._models: list[str] = []
        self._lock = threading.RLock()
        self._given: bool | None = None
        self._extended = True
        self._tokenizer: TokenTexts | None = None
        self.counted = False
        """Whether tokens of some text were counted by the tokenizer, since the server did not say."""

    @property
    def max_length(self) -> int:
        """Largest number of tokens of prompt and output together."""
        return self._max_length

    @property
    def waited_s(self) -> float:
        """Seconds that its requests waited for their turn, while those of other processes took all slots."""
        return self._slots.waited_s or 0.0 if self._slots is not None else 0.0

    @property
    def concurrency(self) -> int:
        """Number of requests under way at once."""
        return self._concurrency

    def __enter__(self) -> Self:
        if self._watch:
            self._before = snapshot(self._connection)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close()
        if kind is None and self._before is not None and (how := changed(self._before, snapshot(self._connection))):
            raise EngineError(f"the server at {self._connection.url} has changed meanwhile: {how}")

    def close(self) -> None:
        """Close the connections."""
        self._client.close()
        if self._slots is not None:
            self._slots.close()

    def loglikelihood(self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[tuple[float, bool]]:
        """Log-likelihood (nats) of each continuation after its context (both token ids), and whether it is the greedy one.

        Raises ValueError where context and continuation together exceed `max_length`, or the context is empty.
        """
        for context, continuation in pairs:
            self._check_length(context, len(continuation))
        asked = [(tuple(context), tuple(continuation)) for context, continuation in pairs]
        requests = scoring_requests(asked, given=any(more for _, more in asked) and self._scores_given_tokens)
        scored = dict(one for found in self._map(self._scores, requests, lambda request: request.prompt) for one in found)
        scores = [scored[pair] if pair[1] else NOTHING for pair in asked]
        check_varied([logprob for score in scores for logprob in score.logprobs])
        check_distribution([(context, more, score.total) for (context, more), score in zip(asked, scores, strict=True)])
        return [(score.total, score.greedy) for score in scores]

    def next_token_logprobs(self, contexts: Sequence[Sequence[int]], token_ids: Sequence[Sequence[int]]) -> list[list[float]]:
        """Log-probability (nats) of each given token as the next one after each context.

        In one request a context, without the prompt's own log-probabilities, which cost a pass through the vocabulary a token.
        Needs vLLM's `logprob_token_ids`; raises EngineError where the server does not know it.
        """
        for context in contexts:
            self._check_length(context, 1)
        rows = self._map(self._score_next, list(zip(contexts, token_ids, strict=True)), lambda asked: asked[0])
        check_varied([logprob for row in rows for logprob in row])
        check_distribution(
            [
                (place, [token], logprob)
                for place, (tokens, row) in enumerate(zip(token_ids, rows, strict=True))
                for token, logprob in zip(tokens, row, strict=True)
            ]
        )
        return rows

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        max_tokens: int,
        stop: Sequence[str] = (),
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int | Sequence[int] = 0,
        special_tokens: bool = False,
    ) -> list[Generation]:
        """Continue each prompt (token ids) until a stop string, the end-of-sequence token or `max_tokens`.

        At most 4 stop strings go to the server (it refuses more); the caller cuts the text at the others. A text does not hold
        the stop string that ended it. `seed` is one for all prompts, or one a prompt. With `special_tokens` it keeps those
        that the model writes, as vLLM and SGLang do on request. Raises ValueError where prompt and `max_tokens` together exceed
        `max_length`.
        """
        for prompt in prompts:
            self._check_length(prompt, max_tokens)
        options: dict[str, Any] = {"max_tokens": max_tokens, "temperature": temperature, "top_p": top_p}
        if special_tokens:
            options["skip_special_tokens"] = False
        if stop:
            options["stop"] = list(stop[:MAX_STOP_STRINGS])
        seeds = [seed] * len(prompts) if isinstance(seed, int) else seed
        asked = list(zip(prompts, seeds, strict=True))
        return self._map(lambda one: self._continue(one[0], {**options, "seed": one[1]}), asked, lambda one: one[0])

    def _check_length(self, prompt: Sequence[int], more: int) -> None:
        if not prompt:
            raise ValueError("the context is empty")
        if len(prompt) + more > self._max_length:
            raise ValueError(f"{len(prompt)} tokens of context and {more} more exceed the engine's {self._max_length}")

    def _map(
        self, function: Callable[[Item], Result], items: Sequence[Item], prompt: Callable[[Item], Sequence[int]]
    ) -> list[Result]:
        """`function` of each item, `concurrency` at once; an error ends it, and says how far it was.

        Items are sent in the order of their prompts, so that those that begin alike follow each other, which a prefix cache
        finds. Of several errors the one is raised whose item comes first.
        """
        pool = ThreadPoolExecutor(self._concurrency)
        try:
            order = sorted(range(len(items)), key=lambda index: tuple(prompt(items[index])))
            sent = {index: pool.submit(function, items[index]) for index in order}
            futures = [sent[index] for index in range(len(items))]
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            errors = [error for future in futures if future in done and (error := future.exception())]
            if not errors:
                check_one_model(self._models)
                return [future.result() for future in futures]
            if len(items) == 1 or not isinstance(errors[0], EngineError):
                raise errors[0]
            raise EngineError(f"{errors[0]} ({len(done) - len(errors)} of {len(items)} requests were answered)") from errors[0]
        finally:
            self._client.stop_waiting()
            pool.shutdown(cancel_futures=True)
            self._client.resume()

    @property
    def _scores_given_tokens(self) -> bool:
        """Whether the server returns log-probabilities of tokens that we name (vLLM's `logprob_token_ids`); asked once.

        Busy, lost or silent servers have not answered that: their errors are raised, and the question stays open.
        """
        with self._lock:
            if self._given is None:
                try:
                    self._score_next(([0], [0, 1]))
                    self._given = True
                except ServerRefused as error:
                    if not 400 <= error.status < 500 or error.status in (401, 403, 404, *PASSING):
                        raise
                    self._given = False
                except NotGiven:
                    self._given = False
            return self._given

    def _scores(self, request: ScoringRequest) -> list[tuple[Pair, Score]]:
        options = {**_SCORING, "logprob_token_ids": list(request.named)} if request.named else _SCORING
        positions = self._positions(list(request.prompt), options, request.echo)
        return list(request.scores(positions))

    def _positions(self, prompt: list[int], options: dict[str, Any], echo: bool) -> list[TokenLogprob]:
        """Checked log-probabilities of the prompt's tokens, where they are echoed, and of the one generated token."""
        completion = self._complete(prompt, {**options, "echo": echo})
        positions = parse_logprobs(completion.choice.get("logprobs"))
        if echo:
            check_echo(positions, prompt, self._spellings)
        generated = len(positions) - (len(prompt) if echo else 0)
        if generated > 1 or (generated < 1 and "logprob_token_ids" in options):
            raise EngineError(f"the server returned {generated} log-probabilities of output where one token was asked for")
        return positions

    def _score_next(self, item: tuple[Sequence[int], Sequence[int]]) -> list[float]:
        context, token_ids = item
        asked = list(dict.fromkeys(token_ids))
        found: dict[int, float] = {}
        for start in range(0, len(asked), MAX_TOKENS_NAMED):
            named = asked[start : start + MAX_TOKENS_NAMED]
            completion = self._complete(list(context), {**_SCORING, "logprob_token_ids": named})
            value = completion.choice.get("logprobs")
            if not value:
                raise NotGiven("the server does not return log-probabilities (logprobs)")
            positions = parse_logprobs(value)
            if len(positions) != 1:
                raise EngineError(f"the server returned {len(positions)} log-probabilities where one token was asked for")
            check_own(positions[0])
            found |= {token: given_logprob(positions[0], token) for token in named}
        return [found[token] for token in token_ids]

    def _continue(self, prompt: Sequence[int], options: dict[str, Any]) -> Generation:
        completion = self._complete(list(prompt), options)
        return generation_of(
            completion, max_tokens=options["max_tokens"], count=self._count_tokens if self._load_tokenizer else None
        )

    def _complete(self, prompt: list[int], options: dict[str, Any]) -> Completion:
        body = {"model": self._connection.model, "prompt": prompt, **STANDARD, **options}
        try:
            with self._slots.taken() if self._slots is not None else nullcontext():
                answer = self._post(body)
        except ServerRefused as error:
            if error.status in (400, 404, 422):
                note = " (whichbits sends prompts as token ids to /v1/completions, which the server must accept)"
                raise ServerRefused(f"{self._connection.url}/v1/completions", error.status, error.words, note) from error
            raise
        completion = parse_completion(answer, prompt_tokens=len(prompt))
        if completion.model is not None and completion.model not in self._models:
            self._models.append(completion.model)
        return completion

    def _post(self, body: dict[str, Any]) -> Any:
        """The answer to a request with `EXTENSIONS`, or without them from a server that has refused them."""
        if not self._extended:
            return self._client.post("/v1/completions", body).json()
        try:
            return self._client.post("/v1/completions", {**body, **EXTENSIONS}).json()
        except ServerRefused as error:
            if error.status not in (400, 422) or not any(name in error.words for name in EXTENSIONS):
                raise
            self._extended = False
            return self._client.post("/v1/completions", body).json()

    def _tokens(self) -> TokenTexts | None:
        with self._lock:
            if self._tokenizer is None and self._load_tokenizer is not None:
                self._tokenizer = self._load_tokenizer()
            return self._tokenizer

    def _spellings(self, token_id: int) -> tuple[str, ...]:
        """How a server that names texts may write a token; nothing where there is no tokenizer."""
        tokenizer = self._tokens()
        return (tokenizer.decode([token_id]), str(tokenizer.convert_ids_to_tokens(token_id))) if tokenizer is not None else ()

    def _count_tokens(self, text: str) -> int:
        self.counted = True
        tokenizer = self._tokens()
        assert tokenizer is not None
        return len(tokenizer.encode(text, add_special_tokens=False))
