"""Remedies of tokenizers: their files, templates, and whose they are."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Make = Callable[..., Path]


@pytest.mark.parametrize(
    ("error", "files"),
    [
        ("tokenizer: that of {folder} cannot be read", {"tokenizer.json": "{}"}),
        ("tokenizer: that of {folder} cannot be read", None),
    ],
)
def test_a_tokenizer(follow: Any, make: Make, resolved: Any, error: str, files: dict[str, str] | None) -> None:
    whole, folder = make(name="whole"), make(name="spoilt")
    if files is None:
        for file in folder.glob("tokenizer*"):
            file.unlink()
    for name, text in (files or {}).items():
        (folder / name).write_text(text)

    def put() -> None:
        from transformers import AutoTokenizer

        AutoTokenizer.from_pretrained(whole).save_pretrained(folder)
        resolved(folder)

    follow(error, mistake=lambda: resolved(folder), remedy=put)


def test_a_tokenizer_of_another_model(follow: Any, make: Make, resolved: Any) -> None:
    narrow = make(name="narrow")
    larger = json.loads((narrow / "tokenizer.json").read_text())
    own = (narrow / "tokenizer.json").read_text()
    larger["model"]["vocab"]["another"] = 64
    (narrow / "tokenizer.json").write_text(json.dumps(larger))
    follow(
        "the tokenizer has ids up to {highest}",
        mistake=lambda: resolved(narrow),
        remedy=lambda: ((narrow / "tokenizer.json").write_text(own), resolved(narrow)),
    )


def test_chat_templates(follow: Any, make: Make) -> None:
    from whichbits.models.chat_template import render
    from whichbits.models.tokenization import load_tokenizer, text_ids

    tokenizer = load_tokenizer(make())
    messages = [{"role": "assistant", "content": "w1"}, {"role": "user", "content": "w2"}]
    follow(
        "has no chat template",
        mistake=lambda: render(tokenizer, messages),
        remedy=lambda: text_ids(tokenizer, "w1"),  # without one
    )
    first = "{% if messages[0]['role'] != 'user' %}{{ raise_exception('user first') }}{% endif %}"
    tokenizer.chat_template = first + "{% for each in messages %}{{ each['content'] }}{% endfor %}"
    follow(
        "refuses the messages with roles",
        mistake=lambda: render(tokenizer, messages),
        remedy=lambda: render(tokenizer, messages[::-1]),
    )
    loop = "{% for i in range(99999) %}"
    tokenizer.chat_template = loop + loop + "{% endfor %}{% endfor %}"

    def fix() -> None:
        tokenizer.chat_template = "{% for each in messages %}{{ each['content'] }}{% endfor %}"
        render(tokenizer, messages)

    follow("of processor time for {listed} messages", mistake=lambda: render(tokenizer, messages), remedy=fix)


def test_a_candidate_of_another_base(follow: Any, make: Make, resolved: Any) -> None:
    from whichbits.models.same_base import refuse_another_model

    base, wider = resolved(make(name="base")), resolved(make(name="wider", head_dim=16))
    follow(
        "is a checkpoint of another model than",
        mistake=lambda: refuse_another_model(base, wider),
        remedy=lambda: refuse_another_model(wider, wider),
    )
    other = make(name="other")
    text = (other / "tokenizer.json").read_text().replace('"w1"', '"w?"').replace('"w2"', '"w1"').replace('"w?"', '"w2"')
    (other / "tokenizer.json").write_text(text)
    candidate = resolved(other)

    def put() -> None:
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(base.path / name, other / name)
        refuse_another_model(base, resolved(other))

    follow("has the tokenizer of another model", mistake=lambda: refuse_another_model(base, candidate), remedy=put)


def test_a_tokenizer_without_words(follow: Any, make: Make, resolved: Any) -> None:
    from tokenizers import Tokenizer, models

    folder = make()
    own = (folder / "tokenizer.json").read_text()
    Tokenizer(models.WordLevel({}, unk_token="<s>")).save(str(folder / "tokenizer.json"))

    def put_it_there() -> None:
        (folder / "tokenizer.json").write_text(own)
        resolved(folder)

    follow("{folder} holds no tokenizer", mistake=lambda: resolved(folder), remedy=put_it_there)
