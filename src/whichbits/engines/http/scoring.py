"""Continuations to be scored in few requests: those that differ in their last token alone are scored by one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from whichbits.engines.errors import EngineError
from whichbits.engines.http.logprobs import TokenLogprob, token_name

MAX_TOKENS_NAMED = 128
"""vLLM's limit on `logprob_token_ids`."""

Pair = tuple[tuple[int, ...], tuple[int, ...]]
"""A context and its continuation, token ids."""


class NotGiven(EngineError):
    """The server does not return log-probabilities of the tokens that are named."""


@dataclass(frozen=True)
class Score:
    """A scored continuation: the log-probability (nats) of each of its tokens, and whether each is the likeliest."""

    logprobs: tuple[float, ...]
    greedy: bool

    @property
    def total(self) -> float:
        """Log-likelihood of the continuation, nats."""
        return float(sum(self.logprobs))


NOTHING = Score((), True)
"""Of a continuation without tokens."""


@dataclass(frozen=True)
class ScoringRequest:
    """One request: the tokens of `prompt` from `start` on are scored by its echo, and each of `named` as the next one.

    Each named token ends a continuation of its own; where none is named the prompt ends the only one.
    """

    prompt: tuple[int, ...]
    start: int
    named: tuple[int, ...] = ()

    @property
    def echo(self) -> bool:
        """Whether tokens of the prompt are scored."""
        return len(self.prompt) > self.start

    def scores(self, positions: Sequence[TokenLogprob]) -> Iterator[tuple[Pair, Score]]:
        """Each pair with its score, by checked positions: the prompt's where it is echoed, and the generated token's.

        Raises EngineError where the likeliest tokens are missing, NotGiven where one is that was named.
        """
        context, begun = self.prompt[: self.start], self.prompt[self.start :]
        before = NOTHING
        for position in positions[self.start : len(self.prompt)] if self.echo else ():
            assert position.logprob is not None, "checked as part of the echo"
            before = _followed(before, position, position.logprob)
        if not self.named:
            yield (context, begun), before
        for token in self.named:
            last = positions[len(self.prompt) if self.echo else 0]
            yield (context, (*begun, token)), _followed(before, last, given_logprob(last, token))


def _followed(before: Score, position: TokenLogprob, own: float) -> Score:
    """The score with a token of log-probability `own` behind it."""
    if not position.top:
        raise EngineError("the server does not return the likeliest tokens (top_logprobs), so greedy cannot be told")
    return Score((*before.logprobs, own), before.greedy and own >= max(position.top.values()))


def given_logprob(position: TokenLogprob, token_id: int) -> float:
    """Log-probability (nats) of a token that was named. Raises NotGiven."""
    found = (position.top or {}).get(token_name(token_id))
    if found is None:
        raise NotGiven("the server does not return log-probabilities of given tokens (logprob_token_ids)")
    return found


def scoring_requests(pairs: Iterable[Pair], *, given: bool) -> list[ScoringRequest]:
    """Requests that score all pairs whose continuations are not empty, each pair once.

    given: the server returns log-probabilities of tokens that are named. The last token of a continuation is named then, which
    saves the echo of continuations of one token, and fits where context and continuation fill the longest request.
    """
    ends: dict[ScoringRequest, dict[int, None]] = {}
    for context, continuation in pairs:
        if continuation:
            begun = (*context, *(continuation[:-1] if given else continuation))
            named = ends.setdefault(ScoringRequest(begun, len(context)), {})
            if given:
                named[continuation[-1]] = None
    return [
        ScoringRequest(alike.prompt, alike.start, tuple(named)[first : first + MAX_TOKENS_NAMED])
        for alike, named in ends.items()
        for first in range(0, max(1, len(named)), MAX_TOKENS_NAMED)
    ]
