from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from whichbits.schema.evaluate import EvaluateItem
from whichbits.schema.labels import Labels
from whichbits.schema.provenance import Provenance
from whichbits.schema.step import Record
from whichbits.studies.changed_items import FILE, changed_items, write_changed_items

BASE = [("a", 1.0, "yes"), ("b", 0.0, "no"), ("c", 1.0, "=1+1")]
WORSE = [("c", 0.5, "\u2028<b>"), ("b", 1.0, "maybe"), ("a", 1.0, "yes, too")]


@pytest.fixture
def records(tmp_path: Path) -> list[Record]:
    def record(candidate: str, items: list[tuple[str, float, str]], **labels: object) -> Record:
        named = Labels.model_validate({"candidate": candidate, "task": "recall", "engine": "vllm", "repeat": 0} | labels)
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        rows = [asdict(EvaluateItem(item, "p", "t", item, score, said, "right")) for item, score, said in items]
        found = Record(folder.name, "evaluate", named, "done", folder, None, Provenance(), None)
        parquet.write_table(pa.Table.from_pylist(rows), found.items)
        return found

    return [
        record("bf16", BASE),
        record("bf16", WORSE, repeat=1),
        record("int8", WORSE),
        record("int8", BASE, engine="emulated"),
        record("int4", BASE[:2]),
    ]


def test_items_whose_score_differs_are_listed_in_the_candidates_order(records: list[Record]) -> None:
    found = list(changed_items(records, "bf16"))
    assert [(one.candidate, one.engine, one.item, one.base_score, one.score) for one in found] == [
        ("int8", "vllm", "c", 1.0, 0.5),
        ("int8", "vllm", "b", 0.0, 1.0),
    ]
    assert (found[0].base_prediction, found[0].prediction, found[0].target) == ("=1+1", "\u2028<b>", "right")


def test_they_are_written_a_line_each(records: list[Record], tmp_path: Path) -> None:
    write_changed_items(records, "bf16", tmp_path)
    lines = (tmp_path / FILE).read_text(encoding="utf-8").rstrip("\n").split("\n")
    assert [json.loads(line)["item"] for line in lines] == ["c", "b"]
    write_changed_items(records[:1], "bf16", tmp_path)
    assert (tmp_path / FILE).read_text(encoding="utf-8") == ""
