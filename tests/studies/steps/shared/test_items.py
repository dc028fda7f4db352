"""Rows of items, written and read again."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet
import pytest

from whichbits.schema.evaluate import EvaluateItem, RepliedItem, SampledItem
from whichbits.studies.steps.shared.items import read_items, write_items

ROW = ("a", "p", "t", "c", 1.0, "x", "y")


@pytest.mark.parametrize(
    "row",
    [
        EvaluateItem(*ROW),
        SampledItem(*ROW, sample_scores=(1.0, 0.0), sample_predictions=("x", "z")),
        RepliedItem(*ROW, replies={"words": 3.0, "lines": None}),
        RepliedItem(*ROW, sample_scores=(1.0,), sample_predictions=("x",), replies={"words": 0.5}),
    ],
)
def test_a_row_is_read_as_it_was_written(row: EvaluateItem, tmp_path: Path) -> None:
    write_items(tmp_path, [row, row])
    assert read_items(tmp_path, type(row)) == [row, row]


def test_measures_of_replies_are_columns(tmp_path: Path) -> None:
    write_items(tmp_path, [RepliedItem(*ROW, replies={"words": 3.0})])
    assert "words" in pyarrow.parquet.read_schema(tmp_path / "items.parquet").names
    assert read_items(tmp_path, EvaluateItem) == [EvaluateItem(*ROW)]
