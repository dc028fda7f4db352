from __future__ import annotations

import json
from pathlib import Path

import pytest

from whichbits.core.errors import UserError
from whichbits.serving.traffic.own_prompts import read_prompts

pytest.importorskip("transformers")


def written(path: Path, *rows: object) -> Path:
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return path


@pytest.mark.model
def test_texts_and_conversations_are_the_tokens_of_the_library(tmp_path: Path, embedded_model: Path) -> None:
    from transformers import AutoTokenizer

    messages = [{"role": "user", "content": "What is 2 + 2?"}]
    rows = ({"prompt": "Once upon a time"}, {"messages": messages, "output_tokens": 5})
    text, chat = read_prompts(written(tmp_path / "p.jsonl", *rows), embedded_model, 32)
    tokenizer = AutoTokenizer.from_pretrained(embedded_model)
    assert (text.prompt, text.output_tokens) == (tokenizer("Once upon a time")["input_ids"], 32)
    ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert (chat.prompt, chat.output_tokens) == (ids, 5)


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("nonsense", "line 2"),
        ("[" * 20_000, "line 2, text: not to be read"),
        ({"prompt": "\ud800 w1"}, "line 2, text: half of a surrogate pair"),
        ({"messages": [{"role": "user", "content": "\ud800"}]}, "line 2, text: half of a surrogate pair"),
        ([1], "line 2: is not an object"),
        ({"text": "a"}, "line 2: has text"),
        ({"prompt": "a", "messages": []}, "line 2"),
        ({"prompt": 7}, "line 2: prompt is 7"),
        ({"prompt": ""}, "line 2: the prompt is empty"),
        ({"messages": "hello"}, "line 2: messages is the text 'hello'"),
        ({"prompt": "w1", "output_tokens": 33}, "line 2: output_tokens is 33"),
        ({"prompt": "w1", "output_tokens": True}, "line 2: output_tokens is True"),
    ],
)
def test_a_line_that_is_no_prompt_is_named(tmp_path: Path, word_tokenizer: Path, row: object, problem: str) -> None:
    with pytest.raises(UserError) as refused:
        read_prompts(written(tmp_path / "p.jsonl", {"prompt": "w1 w2"}, row), word_tokenizer, 32)
    assert problem in str(refused.value) and refused.value.remedy


def test_a_file_of_blank_lines_holds_none(tmp_path: Path, word_tokenizer: Path) -> None:
    with pytest.raises(UserError, match="holds none"):
        read_prompts(written(tmp_path / "p.jsonl", "", "  "), word_tokenizer, 32)
