"""The tokenizer as accuracy uses it: text to token ids, messages to text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from whichbits.accuracy.thinking.prompts import prompt_in
from whichbits.accuracy.thinking.thought import THOUGHT
from whichbits.core.errors import UserError
from whichbits.models.chat_template import render
from whichbits.models.tokenization import begun_ids, load_tokenizer, plain_ids, start_ids
from whichbits.schema.thinking import ThinkingMode

REMEMBERED = 16
"""Texts whose ids are kept: the choices of one item share their context."""


class PromptTokenizer:
    """A checkpoint's tokenizer, under the rules of `models.tokenization`.

    A text begins with BOS where the tokenizer begins every text with it, once; nothing is appended. Code that comes with the
    tokenizer runs only where `trust_remote_code` says so. With a `mode` of thinking the chat template asks in it.
    """

    def __init__(self, path: Path, *, trust_remote_code: bool = False, mode: ThinkingMode | None = None) -> None:
        self.mode = mode
        self.hf: Any = load_tokenizer(path, trust_remote_code=trust_remote_code)
        self.name = str(path)
        self._start = start_ids(self.hf)
        self._ids = lru_cache(REMEMBERED)(partial(plain_ids, self.hf))

    @property
    def eos_token_id(self) -> int:
        """Id of the end-of-sequence token."""
        if self.hf.eos_token_id is None:
            raise UserError(f"tokenizer: {self.name} has no eos_token", remedy="name one in tokenizer_config.json")
        return int(self.hf.eos_token_id)

    @property
    def prefix_token_id(self) -> int:
        """Id of the token that a continuation without context is conditioned on: BOS, else EOS."""
        return self.eos_token_id if self.hf.bos_token_id is None else int(self.hf.bos_token_id)

    @property
    def marks_are_special(self) -> bool:
        """Whether a thinking mode is on whose thoughts are marked by special tokens, which engines leave out of texts."""
        if self.mode is None:
            return False
        special = {str(token) for token in self.hf.added_tokens_decoder.values() if token.special}
        return any(mark in special for marks in THOUGHT for mark in marks)

    def encode(self, text: str, *, special: bool | None = None) -> list[int]:
        """Token ids of `text`, as a sequence of its own; with `special` False of the text alone, as of a template's output."""
        ids = list(self._ids(text))
        return ids if special is False else begun_ids(self._start, ids)

    def chat(self, messages: Sequence[Mapping[str, str]], *, answer_begun: bool = False) -> str:
        """Messages (role, content) as the tokenizer's chat template writes them.

        With `answer_begun` the last message is the beginning of the model's answer and stays open. Raises UserError where there
        is a thinking mode then, which has its place before the answer.
        """
        if self.mode is not None:
            if answer_begun:
                raise UserError(
                    f"modes: a task begins the model's answer itself, so that mode {self.mode.name!r} has nothing to change",
                    remedy="leave modes out of this task: modes: []",
                )
            return prompt_in(self.hf, messages, self.mode)
        return render(self.hf, messages, add_generation_prompt=not answer_begun, continue_final_message=answer_begun)
