"""How a study that stops where nothing is left to decide looks at its results, and how far it has come."""

from __future__ import annotations

from collections.abc import Mapping

from whichbits.schema.frozen import Frozen

FUTILITY = 0.05
"""A candidate is given up where the chance that all items decide it is smaller, unless a study says otherwise."""


class Look(Frozen):
    """A look at the results of every candidate that is not decided yet."""

    count: int
    """Items of every task; all of those that have fewer."""
    items: int
    """Of all tasks together."""
    information: float
    """Share of the information that the last look has."""


class EarlyStoppingPlan(Frozen):
    """When a study looks, and at which look each candidate stands or has stopped."""

    method: str
    futility: float
    """Chance that all items decide a candidate, below which it is given up."""
    looks: tuple[Look, ...]
    most: Mapping[str, int]
    """Items that each task has for the study."""
    reached: Mapping[str, int] = {}
    """The look of each candidate's results, from 1."""
