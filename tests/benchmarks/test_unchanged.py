"""What `benchmarks/unchanged` finds between two records, and what it takes from the files that whichbits writes."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks" / "unchanged"
RECORD: dict[str, Any] = {
    "machine": {"processor": "one", "torch": "2"},
    "entries": {
        "weights/Llama/fast/w8a8-int": {"model.safetensors": "0f", "quantization_config": "1e"},
        "predictions/0": {"latency_s": 0.1, "intervals": {"qps": {"80": [1.0, 2.0]}}},
        "demo/items/evaluate/bf16/recall": {"score": [1.0, 0.0, 1.0], "prediction": "2d"},
        "demo/verdict/tasks/w8a8-int,recall/score": 0.5,
    },
}


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch):
    """Import a script of the folder as it imports its neighbours, anew."""
    monkeypatch.syspath_prepend(str(FOLDER))

    def load(name: str) -> ModuleType:
        import importlib

        for path in FOLDER.glob("*.py"):
            monkeypatch.delitem(sys.modules, path.stem, raising=False)
        return importlib.import_module(name)

    return load


def changed(key: str, value: Any) -> dict[str, Any]:
    record = copy.deepcopy(RECORD)
    record["entries"][key] = value
    return record


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("weights/Llama/fast/w8a8-int", {"model.safetensors": "00", "quantization_config": "1e"}, "model.safetensors"),
        ("weights/Llama/fast/w8a8-int", {"quantization_config": "1e"}, "missing"),
        ("weights/Llama/fast/w8a8-int", {"exit": 2}, "exit"),
        ("predictions/0", {"latency_s": 0.1, "intervals": {"qps": {"80": [1.0, 2.0000000000000004]}}}, "2.0000000000000004"),
        ("predictions/0", {"latency_s": None, "intervals": {}}, "latency_s"),
        ("demo/items/evaluate/bf16/recall", {"score": [1.0, 0.0, 0.0], "prediction": "2d"}, "[2]"),
        ("demo/verdict/tasks/w8a8-int,recall/score", 0.5000000000000001, "0.5000000000000001"),
    ],
)
def test_a_changed_hash_or_number_is_found(module, key: str, value: Any, says: str) -> None:
    found = module("compare").compare(RECORD, changed(key, value))
    assert found.same == 3
    assert found.differences and all(line.startswith(key) for line in found.differences)
    assert any(says in line for line in found.differences)


@pytest.mark.parametrize("key", RECORD["entries"])
def test_a_missing_entry_is_found_and_one_more_is_none(module, key: str) -> None:
    less = copy.deepcopy(RECORD)
    del less["entries"][key]
    compare = module("compare").compare
    assert [line.partition(":")[0] for line in compare(RECORD, less).differences] == [key]
    assert (compare(less, RECORD).differences, compare(less, RECORD).added) == ([], [key])


def test_another_machine_is_said(module) -> None:
    other = {**RECORD, "machine": {"processor": "two", "torch": "2"}}
    found = module("compare").compare(RECORD, other)
    assert len(found.notes) == 1 and not found.differences


def test_renamed_keys_are_compared(module, monkeypatch: pytest.MonkeyPatch) -> None:
    compare = module("compare")
    monkeypatch.setattr(compare, "RENAMED", [("^demo/items/evaluate/", "demo/items/score/")])
    moved = copy.deepcopy(RECORD)
    moved["entries"]["demo/items/score/bf16/recall"] = moved["entries"].pop("demo/items/evaluate/bf16/recall")
    assert compare.compare(RECORD, moved).same == 4
    moved["entries"]["demo/items/score/bf16/recall"]["score"][0] = 0.0
    assert len(compare.compare(RECORD, moved).differences) == 1


def test_the_command_fails_where_something_differs(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(RECORD))
    (tmp_path / "b.json").write_text(json.dumps(changed("demo/verdict/tasks/w8a8-int,recall/score", 1)))
    for other, only, code in (("a", [], 0), ("b", [], 1), ("b", ["--only", "weights"], 0), ("b", ["--only", "demo"], 1)):
        command = [sys.executable, FOLDER, "compare", tmp_path / "a.json", tmp_path / f"{other}.json", *only]
        assert subprocess.run(command, capture_output=True, check=False).returncode == code


def test_hashes_are_of_all_files_of_weights(module, tmp_path: Path) -> None:
    for name, text in (("model-1.safetensors", "a"), ("model.safetensors.index.json", "b"), ("tokenizer.json", "c")):
        (tmp_path / name).write_text(text)
    (tmp_path / "config.json").write_text('{"quantization_config": {"a": 1, "b": 2}}')
    weights = module("checkpoints").weights
    before = weights(tmp_path)
    assert [*before] == ["model-1.safetensors", "model.safetensors.index.json", "quantization_config"]
    (tmp_path / "config.json").write_text('{"quantization_config": {"b": 2, "a": 1}, "other": 3}')
    assert weights(tmp_path) == before
    (tmp_path / "config.json").write_text('{"quantization_config": {"a": 1, "b": 3}}')
    assert weights(tmp_path) != before


def test_of_a_verdict_numbers_are_kept_and_words_are_not(module) -> None:
    rows = [{"candidate": "a", "text": "x", "n": 1}, {"candidate": "a", "text": "x", "n": None}, {"candidate": "b", "n": 2.5}]
    found = dict(module("studies").numbers("verdict", {"words": ["y"], "rows": rows, "seconds": 9, "span": [0.1, 0.2]}))
    assert found == {"verdict/rows/a,x/n": 1, "verdict/rows/b/n": 2.5, "verdict/span/0": 0.1, "verdict/span/1": 0.2}


def test_a_thousand_questions_differ(module) -> None:
    asked = dict(module("predictions").asked_of_the_predictor())
    assert len(asked) == 1000
    assert len({tuple(question.items()) for question in asked.values()}) > 990
