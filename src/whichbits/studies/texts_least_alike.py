"""The texts of each candidate that are least like the base's, for the report to show side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from whichbits.schema.compare import CompareSummary
from whichbits.schema.metrics import Measure
from whichbits.schema.step import Record
from whichbits.verdict.pairing import read_columns

if TYPE_CHECKING:
    from whichbits.reporting.context import TextPair

MOST = 3
"""Pairs of a candidate's."""

BEFORE, AFTER = 200, 800
"""Characters shown before the place where two texts part, and after it."""


def texts_least_alike(records: Sequence[Record], base: str) -> Iterator[TextPair]:
    """Of each comparison the pairs with the lowest value of its first measure of which higher is better, the lowest first.

    Texts that are the same are none of them.
    """
    texts = {_asked(one): one for one in records if one.kind == "generate" and one.state == "done" and not one.labels.repeat}
    for record in records:
        if record.kind != "compare" or record.state != "done" or record.labels.repeat:
            continue
        ours, theirs = (texts.get(_asked(record, name)) for name in (record.labels.candidate, base))
        measure = _first(record.found(CompareSummary))
        if ours is not None and theirs is not None and measure is not None:
            yield from _least_alike(record, measure, _texts(ours), _texts(theirs))


def _asked(record: Record, candidate: str | None = None) -> tuple[str, str | None, str | None]:
    labels = record.labels
    return labels.candidate if candidate is None else candidate, labels.prompts, labels.engine


def _first(summary: CompareSummary) -> Measure | None:
    shown = (entry.measure for entry in summary.measures)
    return next((measure for measure in shown if measure.shown and measure.better == "higher"), None)


def _texts(record: Record) -> dict[str, str]:
    table = read_columns(record.items, ("item", "text"))
    return dict(zip(table["item"].to_pylist(), table["text"].to_pylist(), strict=True))


def _least_alike(record: Record, measure: Measure, ours: dict[str, str], theirs: dict[str, str]) -> Iterator[TextPair]:
    from whichbits.reporting.context import TextPair

    table = read_columns(record.items, ("item", measure.column))
    values = [
        (value, item)
        for item, value in zip(table["item"].to_pylist(), table[measure.column].to_pylist(), strict=True)
        if value is not None and ours[item] != theirs[item]
    ]
    for value, item in sorted(values)[:MOST]:
        alike = _in_common(ours[item], theirs[item])
        yield TextPair(
            candidate=record.labels.candidate,
            prompts=record.labels.prompts or "",
            item=item,
            measure=measure.title,
            value=value,
            alike=_end(ours[item][:alike]),
            base=_beginning(theirs[item][alike:]),
            text=_beginning(ours[item][alike:]),
            step=record.key,
        )


def _in_common(one: str, other: str) -> int:
    """Characters that both texts begin with."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (left, right) in pairs if left != right), min(len(one), len(other)))


def _end(text: str) -> str:
    return text if len(text) <= BEFORE else f"… {text[-BEFORE:]}"


def _beginning(text: str) -> str:
    return text if len(text) <= AFTER else f"{text[:AFTER]} …"
