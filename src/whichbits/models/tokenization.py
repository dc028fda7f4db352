"""From text to the token ids that a model reads: the one place for prompts, calibration text and windows.

A text begins with what the tokenizer puts before a text (BOS, or nothing) and ends with its own last token. A text that a chat
template wrote is complete: nothing is added to it. Functions take a Hugging Face tokenizer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from whichbits.core.errors import UserError
from whichbits.models.chat_template import render
from whichbits.models.configuration import quiet

_PROBES = ("a", "the", "0", ".", "\n")


def load_tokenizer(folder: Path | str, *, trust_remote_code: bool = False) -> Any:
    """The tokenizer of a checkpoint; code that comes with it runs only where `trust_remote_code` says so.

    Raises UserError where the folder has none that can be read.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code)
    except Exception as error:  # the library raises whatever the files cause in it
        if isinstance(error, ValueError) and "trust_remote_code" in str(error):
            raise
        cause = " ".join(str(error).split())[:300]
        raise UserError(
            f"tokenizer: that of {folder} cannot be read ({type(error).__name__}: {cause})",
            remedy="put the model's tokenizer.json and tokenizer_config.json into the folder (tokenizer.save_pretrained)",
        ) from error


def check_tokenizer(folder: Path, vocabulary: int, *, trust_remote_code: bool = False) -> None:
    """Raise UserError where the tokenizer in `folder` cannot be loaded, or has ids that a model of `vocabulary` has not.

    Tokens that were added to it are left out: classes add some of their own, which no text has.
    """
    remedy = "put the files of the model's tokenizer (tokenizer.json, tokenizer_config.json) beside its weights"
    with quiet():
        tokenizer = load_tokenizer(folder, trust_remote_code=trust_remote_code)
    added = tokenizer.get_added_vocab()
    highest = max((number for word, number in tokenizer.get_vocab().items() if word not in added), default=-1)
    if highest < 0:
        raise UserError(f"{folder} holds no tokenizer", remedy=remedy)
    if highest >= vocabulary:
        raise UserError(
            f"{folder}: the tokenizer has ids up to {highest}, and the model's vocabulary ends at {vocabulary - 1}: "
            "it is another model's",
            remedy=remedy,
        )


def plain_ids(tokenizer: Any, text: str) -> list[int]:
    """Token ids of the text alone: nothing before it, nothing behind it."""
    return [int(token) for token in tokenizer.encode(text, add_special_tokens=False, verbose=False)]


def start_ids(tokenizer: Any) -> list[int]:
    """What the tokenizer puts before a text: BOS, once, or nothing. What it would append is not looked at."""
    for probe in _PROBES:
        bare = plain_ids(tokenizer, probe)
        if not bare:
            continue
        whole = [int(token) for token in tokenizer.encode(probe, verbose=False)]
        for place in range(len(whole) - len(bare) + 1):
            if whole[place : place + len(bare)] == bare:
                return _once(whole[:place], tokenizer.bos_token_id)
        break
    whole = [int(token) for token in tokenizer.encode("", verbose=False)]
    return whole[:1] if whole[:1] == [tokenizer.bos_token_id] else []


def _once(start: list[int], bos: int | None) -> list[int]:
    """`start` with one BOS where it has several: some tokenizers state it in two places."""
    return [token for place, token in enumerate(start) if token != bos or bos not in start[:place]]


def text_ids(tokenizer: Any, text: str) -> list[int]:
    """Token ids of a text as a sequence of its own: after `start_ids`, unless its first tokens are those already."""
    return begun_ids(start_ids(tokenizer), plain_ids(tokenizer, text))


def begun_ids(start: list[int], ids: list[int]) -> list[int]:
    """Ids of a text after `start`, unless its first tokens are those already."""
    return ids if ids[: len(start)] == start else start + ids


def chat_ids(tokenizer: Any, messages: Sequence[Mapping[str, str]], *, add_generation_prompt: bool = True) -> list[int]:
    """Token ids of messages in the chat template: what the template wrote, and nothing added."""
    return plain_ids(tokenizer, render(tokenizer, messages, add_generation_prompt=add_generation_prompt))
