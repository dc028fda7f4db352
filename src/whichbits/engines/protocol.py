"""What accuracy and similarity ask of an engine: token ids in, log-likelihoods or greedy text out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Generated(Protocol):
    """One generated text."""

    @property
    def text(self) -> str:
        """The text, without special tokens unless they are asked for."""
        ...

    @property
    def tokens(self) -> int:
        """Number of tokens that the engine produced."""
        ...

    @property
    def finish_reason(self) -> str:
        """'stop' or 'length'."""
        ...


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
        top_p: float = 1.0,
        seed: int | Sequence[int] = 0,
        special_tokens: bool = False,
    ) -> Sequence[Generated]:
        """Continue each prompt (token ids) until a stop string, the end-of-sequence token or `max_tokens`.

        `seed` is one for all prompts, or one a prompt; it matters where `temperature` is above 0. Texts hold special tokens
        only where `special_tokens` asks for them, and never the one that ends them.
        """
        ...
