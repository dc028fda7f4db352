"""Tasks at their floor or ceiling, which say nothing about a model."""

from __future__ import annotations

CEILING = 0.95
ABOVE_CHANCE = 0.05


def uninformative(base_score: float, chance: float) -> str | None:
    """Why a task separates nothing on this base, or None where it can.

    Scores and chance are on the scale from 0 to 1. A base above 95 % leaves no room to differ; one below twice chance, or less
    than 5 points above it, mostly guesses. Where chance is ½ or more twice chance cannot be reached: there, half of the room
    above chance is asked for.
    """
    if base_score > CEILING:
        return f"the base scores {base_score:.1%}, above {CEILING:.0%}: no room to differ"
    if base_score < chance + ABOVE_CHANCE:
        return f"the base scores {base_score:.1%}, less than 5 points above chance ({chance:.1%})"
    floor = 2 * chance if chance < 0.5 else (1 + chance) / 2
    if base_score < floor:
        return f"the base scores {base_score:.1%}, below {floor:.1%}, which guessing ({chance:.1%}) makes the least of use"
    return None
