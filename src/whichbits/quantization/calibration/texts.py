"""Texts for calibration: the user's own file of text or conversations."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whichbits.core.conversation import Messages, messages
from whichbits.core.errors import UserError
from whichbits.core.text import decode, json_lines, read_bytes
from whichbits.models.chat_template import render
from whichbits.quantization.calibration.checksum import check_sha256

if TYPE_CHECKING:
    from whichbits.quantization.recipe.recipe import Calibration


def texts(calibration: Calibration, tokenizer: Any, seed: int) -> Iterator[tuple[str, bool]]:
    """The texts of a source that has texts, as the model reads them, and whether the chat template wrote them.

    Rows of a data set come in an order drawn by `seed`, and are read as they are needed. Raises UserError.
    """
    match calibration.source:
        case "text":
            yield decode(read_file(calibration), _name(calibration)), False
        case "chat":
            for conversation in _conversations(read_file(calibration), calibration):
                yield render(tokenizer, conversation), True
        case "dataset":
            from whichbits.quantization.calibration.dataset import rows

            for row in rows(calibration, seed):
                yield (row, False) if isinstance(row, str) else (render(tokenizer, row), True)


def read_file(calibration: Calibration) -> bytes:
    """Content of the calibration file. Raises UserError where it is not readable UTF-8 or has another SHA-256."""
    content = read_bytes(Path(calibration.file or ""), _name(calibration))
    decode(content, _name(calibration))
    check_sha256(calibration, hashlib.sha256(content).hexdigest(), _name(calibration))
    return content


def _name(calibration: Calibration) -> str:
    return f"calibration file {calibration.file}"


def _conversations(content: bytes, calibration: Calibration) -> Iterator[Messages]:
    """The `messages` of each line."""
    for number, row in json_lines(content, _name(calibration)):
        try:
            if not isinstance(row, dict):
                raise ValueError("the line is not an object with messages")
            yield messages(row.get("messages"))
        except ValueError as error:
            raise UserError(
                f"{_name(calibration)} line {number} is not a conversation: {error}",
                remedy='write a line as {"messages": [{"role": "user", "content": "..."}, ...]}, or put a file with a field '
                "text into a folder of its own and give that: it is read as a data set",
            ) from error
