"""What a model reads of a text: BOS by the tokenizer's rule and once, nothing behind it, templates as they are."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers")

from whichbits.core.errors import UserError
from whichbits.models.tokenization import chat_ids, load_tokenizer, plain_ids, start_ids, text_ids

BOS, EOS, PAD, TURN = 0, 1, 2, 3
TEXT = "the cat sat"
HELLO = [{"role": "user", "content": "the cat"}]


@pytest.fixture
def tokenizer_with(save_tokenizer: Callable[..., int], tmp_path: Path) -> Callable[..., Any]:
    def made(**fields: Any) -> Any:
        save_tokenizer(tmp_path, **fields)
        return load_tokenizer(tmp_path)

    return made


@pytest.mark.parametrize(
    ("fields", "start"),
    [
        ({}, [BOS]),
        ({"before": ()}, []),
        ({"after": ("</s>",)}, [BOS]),
        ({"before": (), "after": ("</s>",)}, []),
        ({"before": (), "after": ("</s>", "<pad>")}, []),
        ({"before": ("<s>", "<s>"), "after": ("</s>",)}, [BOS]),  # stated in two places
        ({"before": ("</s>",), "bos": "</s>"}, [EOS]),  # as OPT's: BOS and EOS are one token
        ({"before": ("<|im_start|>", "<s>")}, [TURN, BOS]),  # as ChatGLM's: more than BOS
        ({"before": (), "bos": None}, []),
        ({"prefix_space": True, "after": ("</s>",)}, [BOS]),
    ],
)
def test_a_text_begins_as_the_tokenizer_begins_it_and_ends_with_its_own(fields, start, tokenizer_with):
    tokenizer = tokenizer_with(**fields)
    own = tokenizer.encode(TEXT, add_special_tokens=False)
    assert start_ids(tokenizer) == start
    assert text_ids(tokenizer, TEXT) == start + own
    assert plain_ids(tokenizer, TEXT) == own
    assert text_ids(tokenizer, "") == start


def test_bos_is_recognized_by_its_id_not_by_its_characters(tokenizer_with):
    tokenizer = tokenizer_with()
    assert text_ids(tokenizer, "<s>" + TEXT) == [BOS, *plain_ids(tokenizer, TEXT)]
    # Characters that are no token: the real BOS stays.
    tokenizer.split_special_tokens = True
    spelled = plain_ids(tokenizer, "<s>" + TEXT)
    assert BOS not in spelled
    assert text_ids(tokenizer, "<s>" + TEXT) == [BOS, *spelled]


def test_padding_and_truncation_of_a_tokenizer_file_are_not_applied(tokenizer_with, tmp_path):
    tokenizer_with()
    file = tmp_path / "tokenizer.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    content["truncation"] = {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0}
    content["padding"] = {
        "strategy": {"Fixed": 64}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": PAD, "pad_type_id": 0,
        "pad_token": "<pad>",
    }  # fmt: skip
    file.write_text(json.dumps(content), encoding="utf-8")
    ids = text_ids(load_tokenizer(tmp_path), TEXT * 3)
    assert PAD not in ids
    assert len(ids) > 2


def test_what_a_template_wrote_gets_no_special_tokens(tokenizer_with):
    tokenizer = tokenizer_with(after=("</s>",))
    ids = chat_ids(tokenizer, HELLO)
    assert BOS not in ids
    assert EOS not in ids
    assert ids[0] == TURN
    written = tokenizer_with(template="{{ bos_token }}{{ messages[0].content }}")
    assert chat_ids(written, HELLO) == [BOS, *plain_ids(written, "the cat")]


def test_a_folder_without_a_tokenizer_is_told(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "llama"}', encoding="utf-8")
    with pytest.raises(UserError, match="tokenizer"):
        load_tokenizer(tmp_path)
    for name, content in (
        ("tokenizer.json", "{"),
        ("tokenizer.json", '{"version": "1.0", "added_tokens": [], "model": {"type": "none"}}'),
        ("tokenizer_config.json", "[]"),
    ):
        (tmp_path / name).write_text(content, encoding="utf-8")
        with pytest.raises(UserError, match="tokenizer"):
            load_tokenizer(tmp_path)
