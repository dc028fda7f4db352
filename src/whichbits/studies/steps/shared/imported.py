"""What results of other tools have in common: their version here, and what is said of where they are from."""

from __future__ import annotations

from collections.abc import Iterable

VERSION = 1
"""Of what is made of imported results."""
SCORES, SPEEDS = "scores", "speeds"
"""How the notes on them begin."""


def notes_on(what: str, tool: str, sources: Iterable[object], unknown: Iterable[str]) -> tuple[str, ...]:
    """Where results are from, and what their tool does not say."""
    found = [f"{what} imported from {tool}: {source}" for source in sources]
    return (*found, *(f"{what}: not in what {tool} wrote, and so not compared: {gap}" for gap in unknown))
