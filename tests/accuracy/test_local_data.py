"""Data sets from a directory, in the hub's layout, as plain files, and as their authors publish them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from whichbits.accuracy.local_data import local_dataset
from whichbits.core.errors import UserError

pytest.importorskip("datasets")


def write(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(rows) if path.suffix == ".json" else "".join(json.dumps(row) + "\n" for row in rows)
    path.write_text(text)


@pytest.mark.parametrize("folder", ["openai/gsm8k/main", "gsm8k/main", "gsm8k"])
def test_files_by_split(tmp_path: Path, folder: str) -> None:
    write(tmp_path / folder / "train.jsonl", [{"question": "a", "answer": "1"}])
    write(tmp_path / folder / "test.json", [{"question": "b\u2028c", "answer": "2"}])
    found = local_dataset(tmp_path, "openai/gsm8k", "main")
    assert found["train"].to_list() == [{"question": "a", "answer": "1"}]
    assert found["test"].to_list() == [{"question": "b\u2028c", "answer": "2"}]


def test_parquet(tmp_path: Path) -> None:
    from datasets import Dataset

    (tmp_path / "data").mkdir()
    Dataset.from_list([{"a": 1}]).to_parquet(str(tmp_path / "data" / "validation.parquet"))
    assert local_dataset(tmp_path, "owner/data", None)["validation"].to_list() == [{"a": 1}]


def test_a_copy_of_the_hubs_repository(tmp_path: Path) -> None:
    folder = tmp_path / "owner" / "data"
    write(folder / "main" / "part-0.jsonl", [{"a": 1}])
    (folder / "README.md").write_text(
        "---\nconfigs:\n- config_name: main\n  data_files:\n  - split: test\n    path: main/part-0.jsonl\n---\n"
    )
    assert local_dataset(tmp_path, "owner/data", "main")["test"].to_list() == [{"a": 1}]


def test_authors_names_of_splits(tmp_path: Path) -> None:
    write(tmp_path / "hellaswag" / "hellaswag_val.jsonl", [{"ind": 4}])
    assert local_dataset(tmp_path, "Rowan/hellaswag", None)["validation"].to_list() == [{"ind": 4}]


def test_arc_as_its_authors_publish_it(tmp_path: Path) -> None:
    question = {"stem": "Why?", "choices": [{"text": "so", "label": "A"}, {"text": "not", "label": "B"}]}
    for name, key in (("ARC-Challenge", "B"), ("ARC-Easy", "A")):
        write(tmp_path / "ai2_arc" / name / f"{name}-Test.jsonl", [{"id": "1", "question": question, "answerKey": key}])
    assert local_dataset(tmp_path, "allenai/ai2_arc", "ARC-Challenge")["test"].to_list() == [
        {"id": "1", "question": "Why?", "choices": {"text": ["so", "not"], "label": ["A", "B"]}, "answerKey": "B"}
    ]


def test_truthfulqa_as_its_authors_publish_it(tmp_path: Path) -> None:
    row = {"question": "Why?", "mc0_targets": {"x": 1}, "mc1_targets": {"so": 1, "not": 0}, "mc2_targets": {"so": 1, "as": 1}}
    write(tmp_path / "truthful_qa" / "mc_task.json", [row])
    assert local_dataset(tmp_path, "truthfulqa/truthful_qa", "multiple_choice")["validation"].to_list() == [
        {
            "question": "Why?",
            "mc1_targets": {"choices": ["so", "not"], "labels": [1, 0]},
            "mc2_targets": {"choices": ["so", "as"], "labels": [1, 1]},
        }
    ]


def test_what_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no data set openai/gsm8k.*hf download openai/gsm8k"):
        local_dataset(tmp_path, "openai/gsm8k", "main")
    (tmp_path / "gsm8k").mkdir()
    with pytest.raises(UserError, match=r"no split of openai/gsm8k \(main\).*test.jsonl"):
        local_dataset(tmp_path, "openai/gsm8k", "main")
    (tmp_path / "gsm8k" / "test.jsonl").write_text("{broken")
    with pytest.raises(UserError, match="not JSON"):
        local_dataset(tmp_path, "openai/gsm8k", "main")
