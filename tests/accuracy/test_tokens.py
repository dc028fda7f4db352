"""The beginning-of-sequence rule, with tokenizers that have one and that have none."""

from __future__ import annotations

from pathlib import Path

import pytest

from whichbits.accuracy.tokens import PromptTokenizer
from whichbits.core.errors import UserError


@pytest.fixture(scope="module")
def with_bos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A word tokenizer that begins every sequence with <s>, as Llama's do; no chat template."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {"<s>": 0, "</s>": 1, "<unk>": 2, "a": 3, "b": 4}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    folder = tmp_path_factory.mktemp("with-bos")
    PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>").save_pretrained(
        folder
    )
    return folder


def test_bos_is_added_once(with_bos: Path) -> None:
    tokenizer = PromptTokenizer(with_bos)
    assert tokenizer.encode("a b") == [0, 3, 4]
    assert tokenizer.encode("<s> a b") == [0, 3, 4]
    assert tokenizer.encode("a b", special=False) == [3, 4]
    assert tokenizer.prefix_token_id == 0


def test_no_bos_where_the_tokenizer_adds_none(embedded_model: Path) -> None:
    tokenizer = PromptTokenizer(embedded_model)
    bare = tokenizer.hf.encode("a sentence", add_special_tokens=False)
    assert tokenizer.encode("a sentence") == bare


def test_a_missing_chat_template_is_told(with_bos: Path) -> None:
    with pytest.raises(UserError, match="no chat template"):
        PromptTokenizer(with_bos).chat([{"role": "user", "content": "a"}])


def test_an_answer_can_be_begun(embedded_model: Path) -> None:
    text = PromptTokenizer(embedded_model).chat(
        [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Well"}], answer_begun=True
    )
    assert text.endswith("<|im_start|>assistant\nWell")


def test_the_context_of_an_items_choices_is_read_once(with_bos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer, read, encode = PromptTokenizer(with_bos), list[str](), type(PromptTokenizer(with_bos).hf).encode
    monkeypatch.setattr(
        type(tokenizer.hf), "encode", lambda self, text, **more: read.append(text) or encode(self, text, **more)
    )
    first = tokenizer.encode("a a")
    first.append(9)  # what is returned is the caller's own
    for choice in ("a a b", "a a a"):
        assert tokenizer.encode("a a") == [0, 3, 3]
        assert tokenizer.encode(choice)[:3] == [0, 3, 3]
    assert read == ["a a", "a a b", "a a a"]
