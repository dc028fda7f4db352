"""The style of an answer, which style control holds equal: its length, headers, lists and bold text."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_CODE = re.compile("```([^`]*)```")
_HEADERS = re.compile(r"^#{1,6}\s", re.MULTILINE)
_LISTS = re.compile(r"^\s*(?:\d+\.|[-*+])\s", re.MULTILINE)
_BOLD = re.compile(r"\*\*[^*\n]+\*\*|__[^_\n]+__")


@dataclass(frozen=True)
class Style:
    """Counts of an answer: tokens of the whole; headers, list entries and bold texts outside blocks of code."""

    tokens: int
    headers: int
    lists: int
    bold: int


def style_of(answer: str, *, tokens: int) -> Style:
    """Counts of an answer of so many tokens."""
    text = _CODE.sub("", answer)
    return Style(tokens, *(len(pattern.findall(text)) for pattern in (_HEADERS, _LISTS, _BOLD)))


def difference(model: Style, baseline: Style) -> NDArray[np.float64]:
    """By how much the model's style exceeds the baseline's, (4,), each from −1 to 1.

    Length: (a − b) / (a + b). The others are densities, count / (tokens + 1): (a − b) / (a + b + 1).
    """
    length = (model.tokens - baseline.tokens) / max(1, model.tokens + baseline.tokens)
    ours, theirs = (np.array([one.headers, one.lists, one.bold]) / (one.tokens + 1) for one in (model, baseline))
    return np.array([length, *((ours - theirs) / (ours + theirs + 1))])
