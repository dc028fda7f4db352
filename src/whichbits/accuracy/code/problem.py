"""A problem that is answered by a program."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """What is asked, and what tests the answer."""

    name: str
    completion: str
    """What a base model continues: the program is `begun` with what it writes."""
    begun: str
    """The part of `completion` that belongs to the program."""
    request: str
    """What a chat model is asked for; the program is read out of its reply."""
    head: str
    """Imports and functions that the answer may use, and, where the request shows it, the head of the function."""
    entry_point: str
    """The function that is tested."""
    test: str
    """Python that defines `check(function)`, which asserts on what the function returns."""
    prelude: str = ""
    """Python that the test needs besides the function."""
