"""Public data sets from a local directory instead of the hub, for machines without a network.

A data set `owner/name` with configuration `config` is looked for in `<data_dir>/owner/name` and then `<data_dir>/name`, as

- a copy of the hub's repository (`hf download owner/name --repo-type dataset --local-dir <data_dir>/owner/name`), or
- files `[config/]<split>.jsonl`, `.json` (a list of objects) or `.parquet` with the hub's field names, or
- for ARC, TruthfulQA, IFEval and BIG-Bench Hard, the files as their authors publish them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from whichbits.core.errors import UserError
from whichbits.core.text import json_lines, parse_json, read_bytes

SPLITS = {
    "train": "train", "training": "train",
    "validation": "validation", "val": "validation", "valid": "validation",
    "dev": "dev", "test": "test",
}  # fmt: skip
SUFFIXES = (".jsonl", ".json", ".parquet")

Row = dict[str, Any]


def local_dataset(data_dir: Path, name: str, config: str | None) -> Mapping[str, Any]:
    """Splits of a data set on disk, by name (`train`, `validation`, `dev`, `test`), as `datasets.Dataset`.

    Where there is a `dev` and no `validation`, it is both.
    """
    from datasets import Dataset, load_dataset

    folder = dataset_folder(data_dir, name)
    if (folder / "README.md").is_file():
        hub_copy: Mapping[str, Any] = load_dataset(str(folder), config)
        return hub_copy
    splits = {
        split: Dataset.from_parquet(str(file)) if file.suffix == ".parquet" else Dataset.from_list(_rows(file, name))
        for split, file in _split_files(folder, config).items()
    }
    if not splits:
        raise UserError(
            f"data_dir: {folder} holds no split of {name}" + (f" ({config})" if config else ""),
            remedy=f"name the files {folder / (config or '')}/test.jsonl (or train, validation; .json, .parquet)",
        )
    return {"validation": splits["dev"], **splits} if "dev" in splits else splits


def dataset_folder(data_dir: Path, name: str) -> Path:
    """Folder of a data set on disk. Raises UserError where there is none."""
    folders = [folder for folder in (data_dir / name, data_dir / name.rpartition("/")[2]) if folder.is_dir()]
    if not folders:
        raise UserError(
            f"data_dir: {data_dir} has no data set {name}",
            remedy=f"put its files in {data_dir / name}: hf download {name} --repo-type dataset --local-dir {data_dir / name}",
        )
    return folders[0]


def _split_files(folder: Path, config: str | None) -> dict[str, Path]:
    """Files of the splits: those in the folder of the configuration, else those beside it.

    A file that has the configuration's own name, as in BIG-Bench Hard, is the test split.
    """
    files: dict[str, Path] = {}
    if config and (own := folder / f"{config}.json").is_file():
        files["test"] = own
    for place in [folder / config, folder] if config else [folder]:
        for file in sorted(place.iterdir()) if place.is_dir() else []:
            # The authors' names carry a prefix: ARC-Challenge-Test.jsonl, hellaswag_val.jsonl.
            prefix, _, last = file.stem.replace("-", "_").lower().rpartition("_")
            split = SPLITS.get(last) or AUTHORS_SPLITS.get(file.name)
            ours = not prefix or prefix in (folder.name.lower(), (config or "").replace("-", "_").lower())
            if split and file.suffix in SUFFIXES and (ours or file.name in AUTHORS_SPLITS):
                files.setdefault(split, file)
    return files


def _rows(file: Path, name: str) -> list[Row]:
    content, where, whole = read_bytes(file, f"data_dir: {file}"), f"data_dir: {file}", file.suffix == ".json"
    form = "a JSON list of objects" if whole else "one JSON object a line"
    rows = parse_json(content, where, form=form) if whole else [row for _, row in json_lines(content, where)]
    rows = rows["examples"] if isinstance(rows, dict) and "examples" in rows else rows  # BIG-Bench's form
    if not (isinstance(rows, list) and rows and all(isinstance(row, dict) for row in rows)):
        raise UserError(
            f"data_dir: {file} is not a list of objects",
            remedy=f"write {form}" if whole else f"write {form}, or name a list of them {file.with_suffix('.json').name}",
        )
    convert = AUTHORS_FORMATS.get(name)
    return [convert(row) for row in rows] if convert else rows


def _arc(row: Row) -> Row:
    """An ARC question: the authors nest it ({question: {stem, choices: [{text, label}]}}), the hub does not."""
    if not isinstance(row["question"], dict):
        return row
    choices = row["question"]["choices"]
    return {
        "id": row["id"],
        "question": row["question"]["stem"],
        "choices": {"text": [choice["text"] for choice in choices], "label": [choice["label"] for choice in choices]},
        "answerKey": row["answerKey"],
    }


def _truthfulqa(row: Row) -> Row:
    """A TruthfulQA question: the authors map answer to label, the hub has two lists."""
    lists = {
        key: {"choices": list(labels), "labels": list(labels.values())}
        for key, labels in row.items()
        if key in ("mc1_targets", "mc2_targets") and "choices" not in labels
    }
    return {"question": row["question"], **{key: row[key] for key in ("mc1_targets", "mc2_targets")}, **lists}


AUTHORS_SPLITS = {"mc_task.json": "validation", "input_data.jsonl": "train"}
AUTHORS_FORMATS: Mapping[str, Callable[[Row], Row]] = {"allenai/ai2_arc": _arc, "truthfulqa/truthful_qa": _truthfulqa}
