"""What the requests of a load ask for: a prompt in token ids, or as text too, and how many tokens of output."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from whichbits.schema.workload import FIXED, Conversation, Lengths
from whichbits.serving.traffic.random_prompts import prompt


@dataclass(frozen=True)
class Asked:
    """One request."""

    prompt: Sequence[int]
    """Token ids."""
    output_tokens: int
    forced: bool = True
    """Whether the output has so many tokens; else it has so many at most, and ends where the model ends it."""
    text: str | None = None
    """What the prompt is the tokens of, for servers that take no token ids; None of random tokens that have no text yet."""


class Content(Protocol):
    """The requests of a workload: the same for every candidate of a round."""

    def request(self, level: str, index: int) -> Asked:
        """The request of a load level's number."""
        ...


@dataclass(frozen=True)
class RandomContent:
    """Prompts of random tokens, no two alike but for what they share on purpose; a function of (seed, load level, request)."""

    vocabulary: NDArray[np.int32]
    """Token ids to draw from, shape [n]."""
    prompt_tokens: int | Lengths
    output_tokens: int | Lengths
    seed: int
    shared_prefix_tokens: int = 0
    recorded: tuple[tuple[int, int], ...] = ()
    """Prompt and output tokens of a log's requests, in place of the two lengths."""
    conversation: Conversation | None = None
    """Requests count on from turn to turn and from conversation to conversation."""

    def request(self, level: str, index: int) -> Asked:
        """Random tokens of the request's lengths."""
        if self.conversation is not None:
            return self._turn(self.conversation, level, index)
        length, output = self._lengths(level, index)
        tokens = prompt(self.vocabulary, length - self.shared_prefix_tokens, seed=self.seed, level=level, index=index)
        return Asked([*self._prefix(), *tokens] if self.shared_prefix_tokens else tokens, output)

    def _turn(self, conversation: Conversation, level: str, index: int) -> Asked:
        """All that was said before, and what the user adds. Answers in it are random tokens: all candidates get equal work."""
        number, turn = divmod(index, conversation.turns)
        lengths = [self._lengths(level, number * conversation.turns + place) for place in range(turn + 1)]
        said = sum(output + conversation.user_tokens for _, output in lengths[:-1])
        length = lengths[0][0] + said - self.shared_prefix_tokens
        tokens = prompt(self.vocabulary, length, seed=self.seed, level=level, index=number)
        return Asked([*self._prefix(), *tokens] if self.shared_prefix_tokens else tokens, lengths[-1][1])

    def _lengths(self, level: str, index: int) -> tuple[int, int]:
        if self.recorded:
            return self.recorded[index % len(self.recorded)]
        if isinstance(self.prompt_tokens, int) and isinstance(self.output_tokens, int):
            return self.prompt_tokens, self.output_tokens
        uniform = np.random.default_rng([self.seed, zlib.crc32(f"{level} lengths".encode()), index]).random(2)
        return drawn(self.prompt_tokens, float(uniform[0])), drawn(self.output_tokens, float(uniform[1]))

    def _prefix(self) -> list[int]:
        """The same in every request of every round."""
        return prompt(self.vocabulary, self.shared_prefix_tokens, seed=0, level="shared prefix", index=0)


@dataclass(frozen=True)
class OwnContent:
    """The user's prompts, in an order drawn by (seed, load level); they begin again where a load needs more."""

    prompts: tuple[Asked, ...]
    seed: int

    def request(self, level: str, index: int) -> Asked:
        """The prompt of that place in the load level's order."""
        begun, place = divmod(index, len(self.prompts))
        order = np.random.default_rng([self.seed, zlib.crc32(level.encode()), begun]).permutation(len(self.prompts))
        return self.prompts[int(order[place])]


def drawn(tokens: int | Lengths, uniform: float) -> int:
    """The length at a quantile (between 0 and 1) of a truncated normal distribution, rounded; a plain number is itself."""
    if isinstance(tokens, int):
        return tokens
    if tokens.stdev < FIXED:
        return round(tokens.mean)
    low, high = (float(ndtr((end - tokens.mean) / tokens.stdev)) for end in (tokens.min - 0.5, tokens.max + 0.5))
    length = tokens.mean + tokens.stdev * float(ndtri(low + uniform * (high - low)))
    return round(min(max(length, tokens.min), tokens.max))
