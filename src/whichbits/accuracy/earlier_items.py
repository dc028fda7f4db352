"""Items of a task that a run does not ask: an earlier, shorter one has scored them, or they are another shard's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TypeVar

from whichbits.accuracy.item import Item
from whichbits.accuracy.result import Rows, Work, distinct
from whichbits.schema.evaluate import EvaluateItem, EvaluateSummary
from whichbits.schema.shard import Shard

QuestionT = TypeVar("QuestionT")


class KeptDiffer(Exception):
    """Items of an earlier run are not those that the task has now; the message names the first."""


@dataclass(frozen=True)
class Kept:
    """What an earlier run of a task with a smaller limit found, and which part of the others is asked now."""

    count: int = 0
    """Its limit: it had the first so many items (of each subtask of a group)."""
    items: Mapping[str, Item] = field(default_factory=dict)
    """By name. Their `chance` is not known."""
    work: Work = field(default_factory=Work)
    shard: Shard | None = None
    """None asks all others."""

    def rows(self, numbers: Iterable[int]) -> Rows:
        """Which items of a run are asked, by the number of each in its subtask."""
        known = tuple(number < self.count for number in numbers)
        return Rows(known, range(len(known)) if self.shard is None else self.shard.own(known), self.count)

    def put(self, items: Sequence[Item | None], rows: Rows) -> tuple[Item, ...]:
        """The shard's items, with what was found of those that are known.

        `items` has one for each of the rows; None may stand for those that are neither known nor the shard's. Raises KeptDiffer
        where a known item is none of the earlier run's, or was asked in other words.
        """
        named = iter(distinct(item for item in items if item is not None))
        found = []
        for place, (made, is_known) in enumerate(zip(items, rows.known, strict=True)):
            if made is None:
                continue
            item = next(named)
            before = self.items.get(item.item) if is_known else item
            if before is None or (before.prompt_hash, before.target_hash) != (item.prompt_hash, item.target_hash):
                raise KeptDiffer(item.item)
            if place in rows.own:
                found.append(replace(before, chance=item.chance))
        if sum(rows.known) != len(self.items):
            raise KeptDiffer(f"{len(self.items)} items before, {sum(rows.known)} now")
        return tuple(found)

    def and_before(self, work: Work) -> Work:
        """The work for a run's items, and for those that are known, which count once among all shards."""
        return work + self.work if self.shard is None or self.shard.index == 0 else work

    def put_together(
        self, rows: Rows, questions: Sequence[QuestionT], asked: Iterable[Item], unasked: Callable[[QuestionT], Item]
    ) -> tuple[Item, ...]:
        """`put` for a task of one question a row: `asked` are the items of those asked, `unasked` makes one that is known."""
        answered = iter(asked)
        made = [
            next(answered) if place in rows.asked else unasked(question) if rows.known[place] else None
            for place, question in enumerate(questions)
        ]
        return self.put(made, rows)


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
