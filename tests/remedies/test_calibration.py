"""Remedies of calibration data."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from whichbits.quantization.recipe.options import source_of
from whichbits.quantization.recipe.recipe import Calibration


@pytest.fixture
def calibrated(base: Path) -> Callable[..., Any]:
    """Makes calibration data for the model."""

    def make(**fields: Any) -> Any:
        from whichbits.quantization.calibration.data import calibration_data

        return calibration_data(base, Calibration(**{"samples": 2, "length": 8, **fields}), 0)

    return make


def test_the_length_of_calibration(follow: Any, calibrated: Any) -> None:
    raised = follow(
        "calibration.length: {length} tokens, and the model reads",
        mistake=lambda: calibrated(source="random", length=129),
        remedy=lambda: calibrated(source="random", length=128),
    )
    assert raised.remedy == "choose a length up to 128"


@pytest.mark.parametrize("helps", [{"samples": 1}, {"length": 3}, {"words": 40}])
def test_too_little_text(follow: Any, calibrated: Any, tmp_path: Path, helps: dict[str, int]) -> None:
    file = tmp_path / "text.txt"
    file.write_text(" ".join(f"w{number}" for number in range(12)))

    def fix() -> None:
        fields = dict(helps)
        if words := fields.pop("words", 0):
            file.write_text(" ".join(f"w{number}" for number in range(words)))
        calibrated(source="text", file=str(file), **fields)

    follow(
        "hold {stream} tokens, {cut} windows of",
        mistake=lambda: calibrated(source="text", file=str(file)),
        remedy=fix,
    )


def test_another_file_than_was_meant(follow: Any, calibrated: Any, tmp_path: Path) -> None:
    file = tmp_path / "text.txt"
    text = " ".join(f"w{number}" for number in range(40))
    digest = hashlib.sha256(text.encode()).hexdigest()
    file.write_text(text + " w1")
    follow(
        "{what} has SHA-256 {digest}, not {sha256}",
        mistake=lambda: calibrated(source="text", file=str(file), sha256=digest),
        remedy=lambda: calibrated(source="text", file=str(file)),
    )
    follow(
        "{what} has SHA-256 {digest}, not {sha256}",
        mistake=lambda: calibrated(source="text", file=str(file), sha256=digest),
        remedy=lambda: (file.write_text(text), calibrated(source="text", file=str(file), sha256=digest)),
    )


@pytest.mark.parametrize("line", ['"w1"', '{"messages": []}', '{"messages": [{"role": "user"}]}', '{"text": "w1"}'])
def test_lines_of_conversations(follow: Any, calibrated: Any, tmp_path: Path, line: str) -> None:
    file = tmp_path / "chat.jsonl"
    file.write_text(line + "\n")
    content = " ".join(f"w{number}" for number in range(40))

    def fix() -> None:
        file.write_text(json.dumps({"messages": [{"role": "user", "content": content}]}) + "\n")
        calibrated(source="chat", file=str(file))

    follow("is not a conversation: {error}", mistake=lambda: calibrated(source="chat", file=str(file)), remedy=fix)


def test_a_column_text_is_read_as_a_data_set(follow: Any, calibrated: Any, tmp_path: Path) -> None:
    content = " ".join(f"w{number}" for number in range(40))
    for name, row in (("texts.jsonl", json.dumps({"text": content})), ("texts.csv", f"text\n{content}")):
        folder = tmp_path / name.replace(".", "-")
        folder.mkdir()
        file = folder / name
        file.write_text(row + "\n")
        follow(
            "is not a conversation: {error}" if file.suffix == ".jsonl" else "is neither a text nor JSON lines",
            mistake=lambda file=file: calibrated(**source_of(str(file))),
            remedy=lambda folder=folder: calibrated(**source_of(str(folder))),
        )


def test_a_token_that_was_added_to_the_tokenizer_alone(follow: Any, base: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from whichbits.quantization.calibration.data import calibration_data

    folder, text = tmp_path / "grown", tmp_path / "text.txt"
    shutil.copytree(base, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["<new>"], special_tokens=True)
    tokenizer.save_pretrained(folder)
    text.write_text("w1 <new> " * 20)

    def made(**fields: Any) -> Any:
        return calibration_data(folder, Calibration(**{"samples": 2, "length": 8, **fields}), 0)

    def resize() -> None:
        model = AutoModelForCausalLM.from_pretrained(folder)
        model.resize_token_embeddings(65)
        model.save_pretrained(folder)
        assert 64 in made(source="text", file=str(text)).tokens

    assert made(source="random", samples=64, length=64).tokens.max() < 64
    follow("it was added to the tokenizer alone", mistake=lambda: made(source="text", file=str(text)), remedy=resize)


def test_lines_of_tokens(follow: Any, calibrated: Any, tmp_path: Path) -> None:
    file = tmp_path / "tokens.jsonl"
    right = json.dumps(list(range(8))) + "\n"

    def given(text: str, **fields: int) -> Any:
        file.write_text(text)
        return calibrated(source="tokens", file=str(file), **fields)

    for helps in (lambda: given(right * 2), lambda: given(right, samples=1)):
        follow("holds {lines} samples, and samples asks for", mistake=lambda: given(right), remedy=helps)
    for wrong in ("[1, 2]\n", "[1, 2, 3, 4, 5, 6, 7, 64]\n", '"w1"\n'):
        follow("token ids", mistake=lambda: given(right + wrong), remedy=lambda: given(right * 2))  # noqa: B023


def test_data_sets(follow: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("datasets")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    from whichbits.quantization.calibration.dataset import pinned_dataset, rows

    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "train.jsonl").write_text(json.dumps({"body": "w1", "number": 3}) + "\n")

    def read(dataset: str, **fields: Any) -> None:
        calibration = Calibration(source="dataset", dataset=dataset, **fields)
        assert list(rows(calibration, 0)) == ["w1"]

    follow(
        "are neither a file, nor a folder, nor a hub id",
        mistake=lambda: read(str(tmp_path / "no-data")),
        remedy=lambda: read(str(folder), fields=("body",)),
    )
    raised = follow(
        "data set {dataset} has {what}",
        mistake=lambda: read(str(folder)),
        remedy=lambda: read(str(folder), fields=("body",)),
    )
    assert raised.remedy == "choose fields among its columns: body, number"
    follow(
        "holds neither text nor one column of conversations",
        mistake=lambda: read(str(folder), fields=("number",)),
        remedy=lambda: read(str(folder), fields=("body",)),
    )
    follow(
        "data set {name} (config {config}, split {split}) cannot be read",
        mistake=lambda: read(str(folder), split="test", fields=("body",)),
        remedy=lambda: read(str(folder), split="train", fields=("body",)),
    )
    follow(
        "is no folder, and sha256 is a folder's",
        mistake=lambda: list(rows(Calibration(source="dataset", dataset="owner/name", sha256="0"), 0)),
        remedy=lambda: pinned_dataset(Calibration(source="dataset", dataset=str(folder))),
    )
