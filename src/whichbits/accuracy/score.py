"""How a generated answer becomes a score of 0 or 1."""

from __future__ import annotations

from typing import Literal

from whichbits.core import regex

Match = Literal["exact_match", "regex"]


def score(metric: Match, answer: str, target: str) -> float:
    """1.0 where `answer` is right, else 0.0.

    `exact_match` compares after removing white space at both ends; with `regex` the target is a regular expression (Python's
    syntax) that must be found somewhere in the answer. Raises RegexTimeout where that takes too long.
    """
    if metric == "regex":
        return float(regex.found("search", target, [answer])[0])
    return float(answer.strip() == target.strip())
