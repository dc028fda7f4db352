"""The items that a candidate answers better or worse than the base, one by one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic_core import to_json

from whichbits.core.files import write_atomically
from whichbits.schema.step import Record
from whichbits.verdict.pairing import read_columns

if TYPE_CHECKING:
    from pyarrow import Table

FILE = "changed_items.jsonl"
COLUMNS = ("item", "target", "prediction", "score")


@dataclass(slots=True)
class ChangedItem:
    """An item whose score differs from the base's in the same engine."""

    candidate: str
    task: str
    mode: str | None
    """Of thinking, where the task is asked in modes."""
    engine: str
    item: str
    target: str
    """The answer that is right, as the task states it."""
    base_score: float
    score: float
    base_prediction: str
    """What the base answered, as the task reads it."""
    prediction: str


def changed_items(records: Sequence[Record], base: str) -> Iterator[ChangedItem]:
    """Of each evaluation of the base's, in the order of the records, those of the candidates beside it."""
    first = [one for one in records if one.kind == "evaluate" and one.state == "done" and one.labels.repeat == 0]
    for against in (one for one in first if one.labels.candidate == base):
        theirs = read_columns(against.items, COLUMNS)
        for record in first:
            if record.labels.candidate != base and _asked(record) == _asked(against):
                yield from _changed(record, theirs)


def write_changed_items(records: Sequence[Record], base: str, folder: Path) -> None:
    """Write them into the store's folder, one JSON object a line."""
    lines = (f"{to_json(one).decode()}\n" for one in changed_items(records, base))
    write_atomically(folder / FILE, lines)


def _asked(record: Record) -> tuple[str | None, str | None, str | None]:
    return record.labels.task, record.labels.mode, record.labels.engine


def _changed(record: Record, theirs: Table) -> Iterator[ChangedItem]:
    import pyarrow.compute as compute
    from pyarrow import ChunkedArray

    ours = read_columns(record.items, COLUMNS)
    if not ours["item"].equals(theirs["item"]):
        rows = compute.index_in(ours["item"], value_set=theirs["item"])
        ours, theirs = ours.filter(rows.is_valid()), theirs.take(rows.drop_null())
    changed = compute.not_equal(ours["score"], theirs["score"])
    own, of_base = (table.filter(changed) for table in (ours, theirs))
    labels = record.labels
    candidate, task, mode, engine = labels.candidate, str(labels.task), labels.mode, str(labels.engine)
    columns = (own["item"], own["target"], of_base["score"], own["score"], of_base["prediction"], own["prediction"])
    for item, target, base_score, score, base_prediction, prediction in zip(*map(ChunkedArray.to_pylist, columns), strict=True):
        yield ChangedItem(
            candidate, task, mode, engine, str(item), str(target), base_score, score, str(base_prediction), str(prediction)
        )
