"""Which texts the report shows side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from whichbits.schema.compare import CompareSummary
from whichbits.schema.labels import Labels
from whichbits.schema.metrics import Measure, Measured
from whichbits.schema.provenance import Provenance
from whichbits.schema.step import Record
from whichbits.schema.summary import Summary
from whichbits.studies.texts_least_alike import AFTER, BEFORE, texts_least_alike

SHOWN = Measure(key="likeness", title="Likeness", better="higher")
MEASURES = (Measure(key="distance", title="Distance", better="lower"), SHOWN)
BASE = {"a": "one two", "b": "same", "c": "x" * 500 + "base", "d": "left", "e": "l"}
OURS = {"a": "one three", "b": "same", "c": "x" * 500 + "y" * 2000, "d": "right", "e": "<b>"}
LIKENESS = {"a": 0.9, "b": 0.0, "c": 0.3, "d": 0.2, "e": None}


@pytest.fixture
def records(tmp_path: Path) -> list[Record]:
    def record(kind: str, candidate: str, rows: list[dict[str, Any]], summary: Summary | None = None) -> Record:
        folder = tmp_path / f"{kind}-{candidate}"
        folder.mkdir()
        named = Labels(candidate=candidate, prompts="built-in", engine="vllm")
        found = Record("0" * 64, kind, named, "done", folder, summary, Provenance(), None)
        parquet.write_table(pa.Table.from_pylist(rows), found.items)
        return found

    measured = CompareSummary(n=5, measures=tuple(Measured(measure=one, value=0.5) for one in MEASURES))
    return [
        record("generate", "bf16", [{"item": item, "text": text} for item, text in BASE.items()]),
        record("generate", "int4", [{"item": item, "text": text} for item, text in reversed(OURS.items())]),
        record("compare", "int4", [{"item": item, "likeness": value} for item, value in LIKENESS.items()], measured),
    ]


def test_the_lowest_first_and_none_that_are_the_same(records: list[Record]) -> None:
    found = list(texts_least_alike(records, "bf16"))
    assert [(one.item, one.value, one.measure, one.candidate) for one in found] == [
        ("d", 0.2, "Likeness", "int4"), ("c", 0.3, "Likeness", "int4"), ("a", 0.9, "Likeness", "int4"),
    ]  # fmt: skip
    assert (found[2].alike, found[2].base, found[2].text) == ("one t", "wo", "hree")


def test_long_texts_are_cut_around_the_place_where_they_part(records: list[Record]) -> None:
    long = next(one for one in texts_least_alike(records, "bf16") if one.item == "c")
    assert long.alike == f"… {'x' * BEFORE}"
    assert (long.base, long.text) == ("base", f"{'y' * AFTER} …")


def test_without_the_texts_there_is_nothing_to_show(records: list[Record]) -> None:
    assert list(texts_least_alike(records[1:], "bf16")) == []
