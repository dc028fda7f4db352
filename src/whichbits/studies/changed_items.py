"""The items that a candidate answers better or worse than the base, one by one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from json import dumps
from pathlib import Path

from whichbits.core.files import write_atomically
from whichbits.schema.step import Record
from whichbits.verdict.pairing import read_columns

FILE = "changed_items.jsonl"
COLUMNS = ("item", "target", "prediction", "score")


@dataclass(frozen=True)
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
    """Of each evaluation of a candidate's that has one of the base's beside it, in the order of the records."""
    first = [one for one in records if one.kind == "evaluate" and one.state == "done" and one.labels.repeat == 0]
    of_base = {_asked(one): one for one in first if one.labels.candidate == base}
    for record in first:
        against = of_base.get(_asked(record))
        if record.labels.candidate != base and against is not None:
            yield from _changed(record, against)


def write_changed_items(records: Sequence[Record], base: str, folder: Path) -> None:
    """Write them into the store's folder, one JSON object a line."""
    lines = [f"{dumps(asdict(one), ensure_ascii=False)}\n" for one in changed_items(records, base)]
    write_atomically(folder / FILE, "".join(lines))


def _asked(record: Record) -> tuple[str | None, str | None, str | None]:
    return record.labels.task, record.labels.mode, record.labels.engine


def _changed(record: Record, against: Record) -> Iterator[ChangedItem]:
    ours, theirs = (read_columns(one.items, COLUMNS) for one in (record, against))
    places = {item: place for place, item in enumerate(theirs["item"])}
    for place, item in enumerate(ours["item"]):
        there = places.get(item)
        if there is not None and ours["score"][place] != theirs["score"][there]:
            yield ChangedItem(
                candidate=record.labels.candidate,
                task=str(record.labels.task),
                mode=record.labels.mode,
                engine=str(record.labels.engine),
                item=str(item),
                target=str(ours["target"][place]),
                base_score=theirs["score"][there],
                score=ours["score"][place],
                base_prediction=str(theirs["prediction"][there]),
                prediction=str(ours["prediction"][place]),
            )
