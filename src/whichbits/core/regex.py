"""Regular expressions that somebody else wrote, or that meet somebody else's text: Python's `re` with a time limit.

Python's matcher backtracks: `(a+)+$` on forty letters takes longer than the universe has existed, and nothing in this process
could end it. So the matching is done by `regex_worker.py` in a process of its own, which the kernel ends (`limited.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from whichbits.core import regex_worker
from whichbits.core.limited import Limited, OutOfTime, Refused

LIMIT_S = 2.0
"""Seconds of CPU time for one question: a pattern on one text, or on a list of them."""

Method = Literal["search", "match", "fullmatch"]


class RegexError(ValueError):
    """Not a regular expression; the message says why."""


class RegexTimeout(Exception):
    """A pattern took longer than it may."""

    def __init__(self, pattern: str, seconds: float) -> None:
        super().__init__(f"{pattern!r:.200} took more than {seconds:g} s")
        self.pattern = pattern
        self.seconds = seconds

    def __reduce__(self) -> tuple[object, ...]:
        return RegexTimeout, (self.pattern, self.seconds)


def check(pattern: str) -> None:
    """Raise RegexError where the pattern is no regular expression."""
    _ask("search", pattern, [], LIMIT_S)


def found(method: Method, pattern: str, texts: Sequence[str], *, seconds: float = LIMIT_S) -> list[bool]:
    """Whether `re.search`, `re.match` or `re.fullmatch` finds the pattern, for each text.

    Raises RegexError, and RegexTimeout where all texts together take more than `seconds`.
    """
    return [bool(one) for one in _ask(method, pattern, texts, seconds)]


def findall(pattern: str, text: str, *, seconds: float = LIMIT_S) -> list[str] | list[tuple[str, ...]]:
    """`re.findall`: texts, or tuples of texts where the pattern has groups. Raises as `found` does."""
    return [tuple(one) if isinstance(one, list) else one for one in _ask("findall", pattern, [text], seconds)[0]]


def _ask(method: str, pattern: str, texts: Sequence[str], seconds: float) -> list[Any]:
    try:
        said: list[Any] = WORKER.ask(seconds, method, pattern, list(texts))
    except OutOfTime:
        raise RegexTimeout(pattern, seconds) from None
    except Refused as error:
        raise RegexError(str(error)) from None
    return said


WORKER = Limited(Path(regex_worker.__file__))
