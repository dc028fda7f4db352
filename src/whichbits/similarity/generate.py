"""Greedy generation from prompts, through the model's own chat template."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any, Protocol

from whichbits.core.errors import UserError
from whichbits.models import tokenization
from whichbits.schema.generate import GeneratedText
from whichbits.similarity.prompts import Prompt


class Generated(Protocol):
    """What an engine made of one prompt."""

    @property
    def text(self) -> str:
        """The text, without special tokens."""
        ...

    @property
    def tokens(self) -> int:
        """Number of tokens that the engine produced."""
        ...

    @property
    def finish_reason(self) -> str:
        """'stop' or 'length'."""
        ...


class GreedyModel(Protocol):
    """The part of an engine that this needs."""

    @property
    def max_length(self) -> int:
        """Largest number of tokens of prompt and output together."""
        ...

    def generate(self, prompts: Sequence[Sequence[int]], *, max_tokens: int, temperature: float = 0.0) -> Sequence[Generated]:
        """Continue each prompt (token ids)."""
        ...


def chat_ids(tokenizer: Any, prompt: Prompt) -> list[int]:
    """Token ids of a prompt in the tokenizer's chat template, up to where the answer begins.

    Raises UserError where the tokenizer has no chat template, or it refuses the prompt.
    """
    messages = [{"role": message.role, "content": message.content} for message in prompt.messages]
    return tokenization.chat_ids(tokenizer, messages)


def prompt_hash(ids: Sequence[int]) -> str:
    """SHA-256 of token ids, in hexadecimal."""
    return hashlib.sha256(json.dumps(list(ids)).encode()).hexdigest()


def generate_texts(model: GreedyModel, tokenizer: Any, prompts: Sequence[Prompt], *, max_tokens: int) -> list[GeneratedText]:
    """Greedy answers to all prompts, at most `max_tokens` tokens each, in the order of the prompts.

    Raises UserError for a prompt that leaves no room for `max_tokens` in the model's context.
    """
    ids = [chat_ids(tokenizer, prompt) for prompt in prompts]
    for prompt, tokens in zip(prompts, ids, strict=True):
        if len(tokens) + max_tokens > model.max_length:
            raise UserError(
                f"prompt '{prompt.id}' has {len(tokens)} tokens; with max_tokens {max_tokens} that is more than the "
                f"model's {model.max_length}",
                remedy="shorten the prompt or lower max_tokens",
            )
    outputs = model.generate(ids, max_tokens=max_tokens, temperature=0.0)
    return [
        GeneratedText(
            item=prompt.id,
            prompt_hash=prompt_hash(tokens),
            text=output.text,
            tokens=output.tokens,
            finish_reason=output.finish_reason,
            token_ids=tuple(tokenization.plain_ids(tokenizer, output.text)),
        )
        for prompt, tokens, output in zip(prompts, ids, outputs, strict=True)
    ]
