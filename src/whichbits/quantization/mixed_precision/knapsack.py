"""Which format each part of a model gets under a budget of bits, or of error."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise

from whichbits.core.errors import UserError


@dataclass(frozen=True)
class Option:
    """A format that a unit (modules that share one) could have: the `bits` it would take on disk, the `error` it would make.

    Errors of different units must be such that they can be added; see `layer_sensitivity`.
    """

    unit: str
    format: str
    bits: float
    error: float


def assign(options: Iterable[Option], *, bits: float | None = None, error: float | None = None) -> dict[str, str]:
    """The format of each unit: the smallest sum of errors in `bits`, or the fewest bits for a sum of errors of at most `error`.

    Each unit begins with its smallest option. What takes away most error for a bit is bought first, as long as it fits;
    options that another, or a mixture of two others, beats are never bought. The sum is thus at most one purchase from the best
    there is (greedy solution of the multiple-choice knapsack problem, Sinha and Zoltners, Operations Research 27, 1979).
    Raises UserError where even the smallest options take more bits, or the most exact make more error.
    """
    if (bits is None) == (error is None):
        raise ValueError("a budget is of bits or of error")
    fronts = {unit: _front(choices) for unit, choices in _by_unit(options).items()}
    chosen = {unit: front[0] for unit, front in fronts.items()}
    taken, made = sum(option.bits for option in chosen.values()), sum(option.error for option in chosen.values())
    if bits is not None and taken > bits:
        raise UserError(
            f"a budget of {bits:,.0f} bits is less than the {taken:,.0f} that the smallest formats take",
            remedy="raise the budget, or add a smaller format",
        )
    steps = [(before, after) for front in fronts.values() for before, after in pairwise(front)]
    steps.sort(key=lambda step: (step[1].error - step[0].error) / (step[1].bits - step[0].bits))
    for before, after in steps:
        if error is not None and made <= error:
            break
        if chosen[before.unit] != before or (bits is not None and taken + after.bits - before.bits > bits):
            continue
        chosen[before.unit] = after
        taken, made = taken + after.bits - before.bits, made + after.error - before.error
    if error is not None and made > error:
        raise UserError(
            f"a budget of {error:g} is less than the error of {made:g} that the most exact formats make",
            remedy="raise the budget, or add a more exact format",
        )
    return {unit: option.format for unit, option in chosen.items()}


def _by_unit(options: Iterable[Option]) -> Mapping[str, list[Option]]:
    by_unit: dict[str, list[Option]] = defaultdict(list)
    for option in options:
        by_unit[option.unit].append(option)
    return by_unit


def _front(options: Iterable[Option]) -> list[Option]:
    """The options that are worth their bits, smallest first: each more exact, at a falling gain for a bit (the lower hull)."""
    front: list[Option] = []
    for option in sorted(options, key=lambda option: (option.bits, option.error)):
        if front and option.error >= front[-1].error:
            continue
        while len(front) > 1 and _gain(front[-2], front[-1]) <= _gain(front[-1], option):
            front.pop()
        front.append(option)
    return front


def _gain(before: Option, after: Option) -> float:
    """Error that goes for each bit more."""
    return (before.error - after.error) / (after.bits - before.bits)
