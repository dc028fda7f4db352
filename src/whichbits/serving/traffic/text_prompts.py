"""Random prompts as texts of exactly so many tokens, for servers that take no token ids.

A text is made of words that a tokenizer reads as one token each, whatever stands before and behind them: tokens that begin
with a space. So a text has as many tokens as words, texts that begin alike have tokens that begin alike, and a shorter one is
the beginning of a longer one. Where a vocabulary has too few such words its other tokens are joined one by one, each only where
the text still reads as the tokens that it was made of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from whichbits.core.errors import UserError
from whichbits.models.tokenization import load_tokenizer, plain_ids
from whichbits.serving.traffic.content import Asked, Content
from whichbits.serving.traffic.random_prompts import ordinary_tokens

CANDIDATES = 4096
"""Tokens of a vocabulary that are looked at."""
FEWEST = 16
"""Words from which prompts are made: of fewer, two prompts could begin alike."""
WINDOW = 8
"""Tokens before one that decide whether it can follow."""
TRIES = 64
"""Tokens that are tried at a place."""


@dataclass(frozen=True)
class Texts:
    """Texts of a tokenizer whose tokens are known."""

    tokenizer: Any
    """Of Hugging Face."""
    tokens: tuple[int, ...]
    """Ordinary tokens to choose from."""

    @cached_property
    def words(self) -> tuple[int, ...]:
        """The tokens that texts are made of. Raises UserError where none reads as itself."""
        order = np.random.default_rng(0).permutation(len(self.tokens))[:CANDIDATES]
        alone = [token for place in order if self._reads_as([token := self.tokens[place]])]
        whole = tuple(token for token in alone if self._stands_alone(token))
        if len(whole) >= FEWEST:
            return whole
        if not alone:
            raise UserError(
                "tokenizer: none of its tokens is read again from its text, so no text of a known length can be sent",
                remedy="use a server that takes token ids in /v1/completions, as vLLM and SGLang do",
            )
        return tuple(alone)

    def of(self, drawn: Sequence[int]) -> tuple[tuple[int, ...], str]:
        """As many tokens as were drawn, each a function of the one drawn at its place and of those before, and their text.

        Raises UserError where the tokenizer reads no such text as so many tokens.
        """
        tokens = tuple(self.words[token % len(self.words)] for token in drawn)
        text = self._text(tokens)
        if plain_ids(self.tokenizer, text) == list(tokens):
            return tokens, text
        tokens = self._joined(tokens)
        return tokens, self._text(tokens)

    def _joined(self, wanted: tuple[int, ...]) -> tuple[int, ...]:
        """The tokens that are wanted, with others where one cannot follow those before it."""
        kept: list[int] = []
        for place, token in enumerate(wanted):
            others = np.random.default_rng([place, token]).integers(len(self.words), size=TRIES)
            tried = (token, *(self.words[other] for other in others))
            found = next((one for one in tried if self._reads_as([*kept[-WINDOW:], one])), None)
            if found is None:
                break
            kept.append(found)
        if len(kept) < len(wanted) or not self._reads_as(kept):
            raise UserError(
                f"tokenizer: no text of exactly {len(wanted)} tokens is found, and the server takes no token ids",
                remedy="use a server that takes token ids in /v1/completions, as vLLM and SGLang do",
            )
        return tuple(kept)

    def _stands_alone(self, token: int) -> bool:
        """Whether it is a word, and one behind another too: the same twice is two words, and the same two tokens."""
        words = self._text((token, token)).split()
        return len(words) == 2 and words[0] == words[1] and words[0].isalnum() and self._reads_as((token, token))

    def _reads_as(self, tokens: Sequence[int]) -> bool:
        """Whether their text is read as these tokens."""
        return plain_ids(self.tokenizer, self._text(tokens)) == list(tokens)

    def _text(self, tokens: Sequence[int]) -> str:
        text: str = self.tokenizer.decode(list(tokens), skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return text


@dataclass(frozen=True)
class TextContent:
    """The requests of another content as texts: those that come from texts as they are, random tokens as other ones."""

    content: Content
    texts: Texts

    def request(self, level: str, index: int) -> Asked:
        """The request of that number, with its text."""
        asked = self.content.request(level, index)
        if asked.text is not None:
            return asked
        tokens, text = self.texts.of(asked.prompt)
        return replace(asked, prompt=tokens, text=text)


def texts_of(tokenizer: Path, *, trust_remote_code: bool = False) -> Texts:
    """Texts of a checkpoint's tokenizer, which is in this folder. Raises UserError where there is none."""
    loaded = load_tokenizer(tokenizer, trust_remote_code=trust_remote_code)
    return Texts(loaded, tuple(ordinary_tokens(tokenizer).tolist()))
