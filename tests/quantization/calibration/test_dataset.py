from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("datasets")
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from whichbits.core.errors import UserError  # noqa: E402
from whichbits.quantization.calibration.data import calibration_data, pinned  # noqa: E402
from whichbits.quantization.calibration.dataset import folder_sha256, rows  # noqa: E402
from whichbits.quantization.recipe.recipe import Calibration, Recipe  # noqa: E402

CHAT = [{"role": "user", "content": "Name a colour."}, {"role": "assistant", "content": "Blue, like the sea."}]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Forty rows: a text, two parts of one, and a conversation."""
    place = tmp_path / "data"
    place.mkdir()
    lines = [
        {
            "text": f"Text number {n} of this set, which is long enough.",
            "question": f"q{n}",
            "answer": f"a{n}",
            "messages": CHAT,
        }
        for n in range(40)
    ]
    (place / "train.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    (place / "test.jsonl").write_text(json.dumps({"text": "Another split."}) + "\n")
    return place


def of(folder: Path, **fields: object) -> Calibration:
    return Calibration(source="dataset", dataset=str(folder), **fields)


def test_rows_come_from_the_columns_asked_for(folder: Path) -> None:
    assert sorted(rows(of(folder, fields=("text",)), 0))[0] == "Text number 0 of this set, which is long enough."
    assert "q7\n\na7" in set(rows(of(folder, fields=("question", "answer")), 0))
    assert list(rows(of(folder), 0)) == [CHAT] * 40, "conversations where there are some"
    assert list(rows(of(folder, split="test", fields=("text",)), 0)) == ["Another split."]


def test_the_order_is_the_seeds(folder: Path) -> None:
    texts = [list(rows(of(folder, fields=("text",)), seed)) for seed in (0, 0, 1)]
    assert texts[0] == texts[1] != texts[2]
    assert sorted(texts[0]) == sorted(texts[2])


def test_tokens_are_the_rows(folder: Path, tiny_llama: Path) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_llama)
    calibration = of(folder, fields=("text",), samples=4, length=32)
    data = calibration_data(tiny_llama, calibration, seed=3)
    stream = "".join(f"{text}{tokenizer.eos_token}" for text in rows(calibration, 3))
    assert all(tokenizer.decode(sample) in stream for sample in data.tokens)
    chat = calibration_data(tiny_llama, of(folder, samples=2, length=48), seed=0)
    whole = tokenizer.apply_chat_template(CHAT, tokenize=False) * 10
    assert all(tokenizer.decode(sample) in whole for sample in chat.tokens)


def test_a_folder_is_pinned_by_its_content(folder: Path) -> None:
    recipe = Recipe(rounding="gptq", calibration=of(folder, fields=("text",)))
    kept = pinned(recipe).calibration
    assert kept.sha256 == folder_sha256(folder)
    (folder / "test.jsonl").write_text(json.dumps({"text": "Changed."}) + "\n")
    with pytest.raises(UserError, match="has SHA-256"):
        next(rows(kept, 0))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"fields": ("body",)}, "has no column 'body' → choose fields among its columns: text"),
        ({"fields": ("text", "messages")}, "holds neither text nor one column of conversations"),
        ({"split": "validation"}, "split validation"),
        ({"config": "de"}, "config de"),
        ({"samples": 1000}, "hold .* tokens"),
    ],
)
def test_what_a_data_set_lacks_is_named(fields: dict[str, object], message: str, folder: Path, tiny_llama: Path) -> None:
    with pytest.raises(UserError, match=message):
        calibration_data(tiny_llama, of(folder, **fields), seed=0)


def test_a_name_that_is_none_is_refused() -> None:
    with pytest.raises(UserError, match="neither a file, nor a folder, nor a hub id"):
        next(rows(Calibration(source="dataset", dataset="no/such/thing"), 0))


def test_an_unreachable_hub_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def offline(*args: object, **kwargs: object) -> None:
        raise ConnectionError("no connection")

    monkeypatch.setattr(datasets, "load_dataset", offline)
    with pytest.raises(UserError, match="cannot be read: no connection → check its name, config and split"):
        next(rows(Calibration(source="dataset", dataset="owner/name"), 0))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"source": "dataset"}, "needs a dataset"),
        ({"source": "text", "file": "a", "dataset": "b"}, "takes no dataset"),
        ({"split": "test"}, "source is not dataset"),
    ],
)
def test_fields_of_another_source_are_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Calibration.model_validate(fields)
