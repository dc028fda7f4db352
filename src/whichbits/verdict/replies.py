"""From the records of a study to the replies of tasks that were asked in thinking modes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from whichbits.schema.evaluate import EvaluateSummary
from whichbits.schema.metrics import Measure
from whichbits.schema.step import Record
from whichbits.verdict.findings import EMULATED, RepliedTask
from whichbits.verdict.pairing import PairingError, dense_ranks, names_order, read_columns


def replied_tasks(records: Sequence[Record]) -> Iterator[RepliedTask]:
    """The replies of each first run of a task in a thinking mode, by items in the order of their names."""
    for record in records:
        found = record.found(EvaluateSummary)
        if found.mode is None or found.replies is None or record.labels.repeat:
            continue
        keys = [each.measure.key for each in found.replies.measures]
        table = read_columns(record.items, ("item", "cluster", *keys))
        table = table.take(names_order(table))
        emulated = record.labels.engine == EMULATED
        yield RepliedTask(
            candidate=record.labels.candidate,
            task=str(record.labels.task),
            mode=found.mode,
            engine=str(record.labels.engine),
            provenance="emulated" if emulated else "measured",
            score=found.score,
            replies=found.replies.count,
            values={key: np.asarray(table[key].to_numpy(), dtype=np.float64) for key in keys},
            items=table["item"],
            cluster=dense_ranks(table["cluster"]),
            seconds=None if emulated else found.replies.seconds,
            concurrency=found.concurrency,
            steps=(record.key,),
        )


def check_same_items(replied: Sequence[RepliedTask], base: str, *, fewer: bool) -> None:
    """Raise PairingError where a candidate's replies are not to the base's items, or with `fewer` to some of them."""
    known: Mapping[tuple[str, str], RepliedTask] = {
        (entry.task, entry.engine): entry for entry in replied if entry.candidate == base
    }
    for entry in replied:
        of_base = known.get((entry.task, entry.engine))
        if of_base is None:
            continue
        asked = of_base.among(entry.items).items if fewer else of_base.items
        if not asked.equals(entry.items):
            raise PairingError(f"{entry.task} ({entry.engine}), {entry.candidate} against {base}: replies to other items")


def reply_measures(records: Sequence[Record]) -> tuple[Measure, ...]:
    """What the measures of replies are, once each."""
    found = [record.found(EvaluateSummary).replies for record in records]
    return tuple({each.measure.key: each.measure for one in found if one for each in one.measures}.values())
