"""What accuracy and similarity ask of an engine: token ids in, log-likelihoods or greedy text out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol


@dataclass(frozen=True)
class Generation:
    """One generated text; `tokens` counts what the engine produced, `finish_reason` is the engine's."""

    text: str
    tokens: int
    finish_reason: Literal["stop", "length"]


class LanguageModel(Protocol):
    """An engine with a checkpoint loaded.

    `max_length` is the largest number of tokens of prompt and output together; a longer request raises ValueError.
    """

    @property
    def max_length(self) -> int:
        """Largest number of tokens of prompt and output together."""
        ...

    def loglikelihood(self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[tuple[float, bool]]:
        """Log-likelihood (nats) of each continuation after its context, and whether it is the greedy one.

        Both sides are token ids; the context is never empty.
        """
        ...

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        max_tokens: int,
        stop: Sequence[str] = (),
        temperature: float = 0.0,
        seed: int = 0,
    ) -> list[Generation]:
        """Continue each prompt (token ids) until a stop string, the end-of-sequence token or `max_tokens`."""
        ...
