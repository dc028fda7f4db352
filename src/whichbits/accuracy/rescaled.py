"""Scores above chance as the Open LLM Leaderboard (version 2) gives them: 0 is guessing, 100 is all right."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from statistics import fmean

from whichbits.accuracy.item import Item
from whichbits.accuracy.task import Task


def rescaled(task: Task, items: Sequence[Item]) -> float | None:
    """100 · max(0, score − chance) / (1 − chance), of all items or as the mean of a group's members; None where not asked for.

    Chance is the task's own where it states one, else the mean over the items. Source: the leaderboard's page on normalization
    (huggingface.co/docs/leaderboards/open_llm_leaderboard/normalization).
    """
    if task.rescale is None:
        return None
    members: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        members[item.item.rpartition("/")[0] if task.rescale == "members" else ""].append(item)
    return fmean(_above_chance(of_member, task.chance) for of_member in members.values())


def _above_chance(items: Iterable[Item], stated: float | None) -> float:
    items = list(items)
    score, chance = fmean(item.score for item in items), fmean(item.chance for item in items) if stated is None else stated
    return 100 * max(0.0, score - chance) / (1 - chance)
