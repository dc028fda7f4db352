"""Prompts as token ids: exact in length, and never two alike."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whichbits.core.errors import UserError
from whichbits.models.tokenization import load_tokenizer


def ordinary_tokens(tokenizer: Path) -> NDArray[np.int32]:
    """Token ids of a checkpoint's vocabulary without its special and added ones, ascending, shape [n].

    `tokenizer` is a folder with a `tokenizer.json`, or with the files of a tokenizer that transformers loads. Raises UserError
    where there is none.
    """
    path = tokenizer / "tokenizer.json"
    if not path.is_file():
        return _of_transformers(tokenizer)
    from tokenizers import Tokenizer

    loaded: Any = Tokenizer.from_file(str(path))
    ids = set(loaded.get_vocab(with_added_tokens=False).values()) - set(loaded.get_added_tokens_decoder())
    return np.array(sorted(ids), dtype=np.int32)


def _of_transformers(folder: Path) -> NDArray[np.int32]:
    """The same of a tokenizer without tokenizer.json (a sentencepiece model, one written in Python)."""
    if not (folder / "tokenizer_config.json").is_file():
        raise UserError(
            f"tokenizer {folder} has no tokenizer.json and no tokenizer_config.json",
            remedy="save the checkpoint's tokenizer into its folder with save_pretrained",
        )
    loaded = load_tokenizer(folder)
    ids = {*loaded.get_vocab().values()} - {*loaded.added_tokens_decoder} - {*loaded.all_special_ids}
    return np.array(sorted(ids), dtype=np.int32)


def prompt(vocabulary: NDArray[np.int32], length: int, *, seed: int, level: str, index: int) -> list[int]:
    """`length` token ids drawn uniformly from `vocabulary`, the same for equal (seed, load level, index).

    A shorter prompt of the same is the beginning of a longer one.

    Two prompts share their first k tokens with probability len(vocabulary)^-k, so none finds its prefix in a cache.
    """
    generator = np.random.default_rng([seed, zlib.crc32(level.encode()), index])
    drawn: list[int] = vocabulary[generator.integers(len(vocabulary), size=length)].tolist()
    return drawn
