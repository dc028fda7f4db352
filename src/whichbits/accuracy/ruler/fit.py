"""How much filler an item gets: as many units as fit a number of tokens, found with few tokenizations."""

from __future__ import annotations

from collections.abc import Callable

SLACK = 8
"""Tokens that may stay unused where another unit would still fit."""

_INTERPOLATED = 8
"""Steps by interpolation; afterwards the bracket is halved."""


def fit(tokens: Callable[[int], int], *, least: int, most: int, budget: int, start: int | None = None) -> int | None:
    """A number of units with at most `budget` tokens: within `SLACK` of it, or one more unit is too much, or there are no more.

    `tokens` counts the tokens with so many units, and about grows with them; `start` is a first guess. None where even `least`
    units are too many. Every step interpolates between the largest number known to fit and the smallest known not to.
    """
    low, high = (least, tokens(least)), (most + 1, 0)
    if low[1] > budget:
        return None
    steps = 0
    guess = start if start is not None else _first(tokens, least, most, low[1], budget)
    while high[0] - low[0] > 1:
        here = min(max(guess, low[0] + 1), high[0] - 1)
        count = tokens(here)
        if count <= budget:
            low = here, count
            if budget - count <= SLACK:
                break
        else:
            high = here, count
        steps += 1
        if steps > _INTERPOLATED:
            guess = (low[0] + high[0]) // 2
        elif high[1]:
            guess = low[0] + (budget - low[1]) * (high[0] - low[0]) // max(1, high[1] - low[1])
        else:  # no upper end yet: as far as a unit's mean length says
            guess = low[0] + 1 + (budget - low[1]) * (low[0] - least) // max(1, low[1])
    return low[0]


def _first(tokens: Callable[[int], int], least: int, most: int, at_least: int, budget: int) -> int:
    """A guess from the length of the first hundred units."""
    further = min(most, least + 100)
    added = tokens(further) - at_least
    return least + (budget - at_least) * (further - least) // max(1, added)
