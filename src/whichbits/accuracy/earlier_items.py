"""Items that an earlier, shorter run of a task has scored, and that are not asked again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from whichbits.accuracy.item import Item
from whichbits.accuracy.result import Work, distinct
from whichbits.schema.evaluate import EvaluateItem, EvaluateSummary


class KeptDiffer(Exception):
    """Items of an earlier run are not those that the task has now; the message names the first."""


@dataclass(frozen=True)
class Kept:
    """What an earlier run of a task with a smaller limit found."""

    count: int
    """Its limit: it had the first so many items (of each subtask of a group)."""
    items: Mapping[str, Item]
    """By name. Their `chance` is not known."""
    work: Work

    def put(self, items: Iterable[Item], known: Sequence[bool]) -> tuple[Item, ...]:
        """All items of a run that did not ask for those that are `known`, with what was found of these.

        Raises KeptDiffer where a known item is none of the earlier run's, or was asked in other words.
        """
        together = []
        for item, is_known in zip(distinct(items), known, strict=True):
            before = self.items.get(item.item) if is_known else item
            if before is None or (before.prompt_hash, before.target_hash) != (item.prompt_hash, item.target_hash):
                raise KeptDiffer(item.item)
            together.append(replace(before, chance=item.chance))
        if sum(known) != len(self.items):
            raise KeptDiffer(f"{len(self.items)} items before, {sum(known)} now")
        return tuple(together)


def together(
    earlier: Kept | None, unasked: Sequence[Item], asked: Sequence[Item], work: Work
) -> tuple[Sequence[Item], Work, int]:
    """All items of a task whose first ones were not asked, the work for them, and how many were kept.

    Raises KeptDiffer where what was kept is not of these items.
    """
    if earlier is None:
        return asked, work, 0
    items = earlier.put([*unasked, *asked], [True] * len(unasked) + [False] * len(asked))
    return items, work + earlier.work, earlier.count


def kept(count: int, summary: EvaluateSummary, rows: Iterable[EvaluateItem]) -> Kept | None:
    """What a run with the limit `count` found, from its summary and its rows of items.parquet.

    None where the tokens were not counted.
    """
    if summary.prompt_tokens is None or summary.generated_tokens is None:
        return None
    items = [Item(**asdict(row)) for row in rows]
    work = Work(
        round(summary.prompt_tokens * summary.n),
        round(summary.generated_tokens * summary.n),
        seconds=summary.replies.seconds if summary.replies is not None else 0.0,
    )
    return Kept(count, {item.item: item for item in items}, work)
