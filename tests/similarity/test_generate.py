from dataclasses import dataclass

import pytest

from whichbits.core.errors import UserError
from whichbits.similarity.generate import chat_ids, generate_texts, prompt_hash
from whichbits.similarity.prompts import parse_prompts

pytest.importorskip("transformers")

PROMPTS = parse_prompts(b'{"id": "a", "prompt": "Hi"}\n{"id": "b", "prompt": "Bye"}', "test")


@dataclass(frozen=True)
class Answer:
    text: str
    tokens: int
    finish_reason: str


class Echo:
    """Answers with the length of the prompt, and keeps how it was asked."""

    max_length = 64

    def __init__(self):
        self.calls = []

    def generate(self, prompts, *, max_tokens, temperature=0.7):
        self.calls.append((max_tokens, temperature))
        return [Answer(str(len(prompt)), 2, "length") for prompt in prompts]


def test_prompts_go_through_the_chat_template_with_a_fixed_date(byte_tokenizer):
    ids = chat_ids(byte_tokenizer, PROMPTS[0])
    assert byte_tokenizer.decode(ids) == "<s>user: Hi<s>assistant 2024-07-26:"


def test_rows_keep_item_hash_and_what_the_engine_said(byte_tokenizer):
    model = Echo()
    rows = generate_texts(model, byte_tokenizer, PROMPTS, max_tokens=2)
    ids = [chat_ids(byte_tokenizer, prompt) for prompt in PROMPTS]
    assert [row.item for row in rows] == ["a", "b"]
    assert [row.text for row in rows] == [str(len(tokens)) for tokens in ids]
    assert [row.prompt_hash for row in rows] == [prompt_hash(tokens) for tokens in ids]
    assert {(row.tokens, row.finish_reason) for row in rows} == {(2, "length")}
    assert [byte_tokenizer.decode(row.token_ids) for row in rows] == [row.text for row in rows]
    assert model.calls == [(2, 0.0)]


def test_the_hash_is_of_the_token_ids():
    # printf '[1, 22, 3]' | sha256sum
    assert prompt_hash([1, 22, 3]) == "8784a912b61ddbaeb6235261ae73820c3a81521b12d505524364f3e85e1f1572"


def test_a_prompt_without_room_for_the_answer_is_refused_before_anything_runs(byte_tokenizer):
    model = Echo()
    with pytest.raises(UserError, match=r"prompt 'a' has 31 tokens; with max_tokens 34 .* 64 → shorten"):
        generate_texts(model, byte_tokenizer, PROMPTS, max_tokens=34)
    assert model.calls == []


def test_a_tokenizer_without_chat_template_is_refused(byte_tokenizer):
    from copy import deepcopy

    plain = deepcopy(byte_tokenizer)
    plain.chat_template = None
    with pytest.raises(UserError, match="no chat template"):
        chat_ids(plain, PROMPTS[0])
