"""Whether a model's tokenizer is there, and is its own."""

from __future__ import annotations

from pathlib import Path

from whichbits.errors import UserError
from whichbits.models.configuration import quiet
from whichbits.models.tokenization import load_tokenizer


def check_tokenizer(folder: Path, vocabulary: int, *, allow_custom_code: bool = False) -> None:
    """Raise UserError where the tokenizer in `folder` cannot be loaded, or has ids that a model of `vocabulary` has not.

    Tokens that were added to it are left out: classes add some of their own, which no text has.
    """
    remedy = "put the files of the model's tokenizer (tokenizer.json, tokenizer_config.json) beside its weights"
    with quiet():
        tokenizer = load_tokenizer(folder, allow_custom_code=allow_custom_code)
    added = tokenizer.get_added_vocab()
    highest = max((number for word, number in tokenizer.get_vocab().items() if word not in added), default=-1)
    if highest < 0:
        raise UserError(f"{folder} holds no tokenizer", remedy=remedy)
    if highest >= vocabulary:
        raise UserError(
            f"{folder}: the tokenizer has ids up to {highest}, and the model's vocabulary ends at {vocabulary - 1}: "
            "it is another model's",
            remedy=remedy,
        )
