"""Texts to compare distributions on: read, tokenised and cut into windows of one length."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from whichbits.core.errors import UserError
from whichbits.core.text import read_text
from whichbits.models.tokenization import plain_ids, start_ids


def builtin_documents() -> tuple[str, ...]:
    """The texts of this repository, each a document: prose, dialogue, code, instructions, explanation."""
    folder = files("whichbits.similarity").joinpath("data/texts")
    return tuple(entry.read_text(encoding="utf-8") for entry in sorted(folder.iterdir(), key=lambda entry: entry.name))


def read_document(path: Path) -> str:
    """A text file of the user's; raises UserError where it cannot be read."""
    return read_text(path, f"text: {path}")


def cut(documents: Sequence[Sequence[int]], length: int, prefix: Sequence[int] = ()) -> list[list[int]]:
    """Windows of `length` token ids, each beginning with `prefix`, none across two documents; the rest of each is dropped."""
    step = length - len(prefix)
    if step < 1 or length < 2:
        raise ValueError(f"a window of {length} tokens has no room with {len(prefix)} prefix tokens")
    return [
        [*prefix, *document[start : start + step]]
        for document in documents
        for start in range(0, len(document) - step + 1, step)
    ]


def token_windows(tokenizer: Any, documents: Sequence[str], length: int) -> list[list[int]]:
    """Documents tokenised without special tokens and cut into windows, each beginning as the model's sequences do.

    That is with the beginning-of-sequence token where the tokenizer adds one. Raises UserError where no window is filled.
    """
    ids = [plain_ids(tokenizer, document) for document in documents]
    windows = cut(ids, length, start_ids(tokenizer))
    if not windows:
        raise UserError(
            f"text: {sum(map(len, ids))} tokens do not fill one window of {length}",
            remedy="give a longer text or a smaller window",
        )
    return windows
