"""Texts have exactly the tokens that they were made of, by each kind of tokenizer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whichbits.core.errors import UserError
from whichbits.models.tokenization import plain_ids
from whichbits.schema.workload import Conversation
from whichbits.serving.traffic.content import Asked, OwnContent, RandomContent
from whichbits.serving.traffic.random_prompts import ordinary_tokens
from whichbits.serving.traffic.text_prompts import FEWEST, TextContent, Texts, texts_of

pytest.importorskip("transformers")

KINDS = ("words", "byte pairs", "no spaces", "pieces", "bytes", pytest.param("embedded", marks=pytest.mark.model))


def save_pieces(folder: Path) -> None:
    """A unigram tokenizer as sentencepiece makes them, whose words begin with ▁."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = [(letter, -6.0) for letter in "abcdefghij▁"]
    words = [(f"▁{first}{second}", -3.0) for first in "abcdefghij" for second in "abcdefghij"]
    backend = Tokenizer(models.Unigram([("<unk>", 0.0), *letters, *words], 0))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>").save_pretrained(folder)


def save_without_spaces(folder: Path) -> None:
    """Byte pairs of a language that puts no spaces between words: whatever follows a token may merge with it."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=60, initial_alphabet=[], show_progress=False)
    backend.train_from_iterator(["thecatsatonthematandthedograntotheoldhouseneartheriverbank"] * 4, trainer)
    PreTrainedTokenizerFast(tokenizer_object=backend).save_pretrained(folder)


@pytest.fixture(scope="module")
def texts(
    word_tokenizer: Path,
    save_tokenizer: Callable[..., int],
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> Callable[[str], Texts]:
    """Texts by a kind of tokenizer, made once each."""
    made: dict[str, Texts] = {}

    def by(kind: str) -> Texts:
        if kind not in made:
            folder = tmp_path_factory.mktemp("texts")
            match kind:
                case "words":
                    folder = word_tokenizer
                case "byte pairs":
                    save_tokenizer(folder)
                case "no spaces":
                    save_without_spaces(folder)
                case "pieces":
                    save_pieces(folder)
                case "bytes":
                    pytest.importorskip("transformers").ByT5Tokenizer().save_pretrained(folder)
                case "embedded":
                    folder = request.getfixturevalue("embedded_model")
            made[kind] = texts_of(folder)
        return made[kind]

    return by


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25, deadline=None)
@given(drawn=st.lists(st.integers(0, 10**6), min_size=1, max_size=120), cut=st.integers(1, 120))
def test_a_text_is_read_as_its_tokens_and_so_is_its_beginning(texts: Callable[[str], Texts], kind: str, drawn, cut) -> None:
    found = texts(kind)
    tokens, text = found.of(drawn)
    assert len(tokens) == len(drawn) and plain_ids(found.tokenizer, text) == list(tokens)
    assert set(tokens) <= set(found.tokens)
    assert found.of(drawn) == (tokens, text)
    shorter, beginning = found.of(drawn[:cut])
    assert shorter == tokens[:cut] and text.startswith(beginning)


def test_tokens_that_merge_are_replaced(texts: Callable[[str], Texts]) -> None:
    """No token begins with a space: they are joined one by one, and not all can follow each other."""
    found = texts("no spaces")
    drawn = np.random.default_rng(0).integers(10**6, size=200).tolist()
    wanted = [found.words[place % len(found.words)] for place in drawn]
    assert plain_ids(found.tokenizer, found.tokenizer.decode(wanted)) != wanted, "this draw shows nothing"
    tokens, text = found.of(drawn)
    assert plain_ids(found.tokenizer, text) == list(tokens) and len(tokens) == 200
    kept = sum(one == other for one, other in zip(tokens, wanted, strict=True))
    assert 100 < kept < 200, "most are those that were wanted"


@pytest.mark.parametrize(("kind", "least"), [("words", 2000), ("pieces", 100)])
def test_words_are_what_begins_with_a_space(texts: Callable[[str], Texts], kind: str, least: int) -> None:
    found = texts(kind)
    assert len(found.words) >= least >= FEWEST
    assert all(
        found.tokenizer.decode([word, word]).split() == [found.tokenizer.decode([word]).strip()] * 2 for word in found.words
    )


def test_requests_have_their_lengths_and_what_they_share(word_tokenizer: Path) -> None:
    vocabulary, made = ordinary_tokens(word_tokenizer), texts_of(word_tokenizer)
    talk = Conversation(turns=3, user_tokens=5)
    random = RandomContent(vocabulary, 40, 8, seed=3, shared_prefix_tokens=12, conversation=talk)
    content = TextContent(random, made)
    asked = [content.request("concurrency 4", index) for index in range(12)]
    assert [len(one.prompt) for one in asked] == [40, 53, 66] * 4
    assert all(plain_ids(made.tokenizer, str(one.text)) == list(one.prompt) for one in asked)
    assert len({tuple(one.prompt[:12]) for one in asked}) == 1
    assert len({tuple(one.prompt[12:16]) for one in asked}) == 4, "no two conversations begin alike behind what all share"
    assert all(asked[turn + 1].prompt[: len(asked[turn].prompt)] == asked[turn].prompt for turn in (0, 1, 3, 4))
    assert [one.output_tokens for one in asked] == [random.request("concurrency 4", index).output_tokens for index in range(12)]


def test_own_prompts_are_sent_as_they_are_written(word_tokenizer: Path) -> None:
    own = Asked([2, 3], 8, text="w0 w1")
    assert TextContent(OwnContent((own,), seed=0), texts_of(word_tokenizer)).request("synchronous", 0) is own


def test_a_tokenizer_that_reads_no_token_again_is_refused() -> None:
    class Lossy:
        """Reads every text as one unknown token."""

        def decode(self, tokens: list[int], **_: Any) -> str:
            return "x" * len(tokens)

        def encode(self, text: str, **_: Any) -> list[int]:
            return [0]

    with pytest.raises(UserError, match="none of its tokens"):
        Texts(Lossy(), tuple(np.arange(1, 9).tolist())).of([1, 2])
