from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whichbits.core.errors import UserError
from whichbits.serving.traffic.random_prompts import ordinary_tokens, prompt

WORDS = np.arange(100, 5000, dtype=np.int32)


def test_vocabulary_leaves_special_tokens_out(word_tokenizer: Path):
    assert ordinary_tokens(word_tokenizer).tolist() == list(range(2, 3002))


def test_missing_tokenizer(tmp_path: Path):
    with pytest.raises(UserError, match=r"no tokenizer\.json"):
        ordinary_tokens(tmp_path)


def test_a_tokenizer_written_in_python(tmp_path: Path):
    pytest.importorskip("transformers").ByT5Tokenizer().save_pretrained(tmp_path)
    assert not (tmp_path / "tokenizer.json").exists()
    assert ordinary_tokens(tmp_path).tolist() == list(range(3, 259))


@given(length=st.integers(1, 300), seed=st.integers(0, 2**40), index=st.integers(0, 10**6))
def test_prompt_is_exact_in_length_and_a_function_of_its_arguments(length, seed, index):
    ids = prompt(WORDS, length, seed=seed, level="concurrency 4", index=index)
    assert len(ids) == length
    assert set(ids) <= set(WORDS.tolist())
    assert ids == prompt(WORDS, length, seed=seed, level="concurrency 4", index=index)


def test_no_two_prompts_share_a_block():
    """vLLM caches blocks of 16 tokens and more: none of 2,400 prompts begins as another does."""
    heads = [
        tuple(prompt(WORDS, 128, seed=seed, level=load_level, index=index)[:16])
        for seed in range(4)
        for load_level in ("synchronous", "concurrency 4", "concurrency 16")
        for index in range(200)
    ]
    assert len(set(heads)) == len(heads)
