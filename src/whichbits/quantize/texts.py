"""Texts for calibration: the user's own file of text or conversations."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whichbits.errors import UserError

if TYPE_CHECKING:
    from whichbits.quantize.recipe import Calibration

Messages = list[dict[str, str]]


def texts(calibration: Calibration, tokenizer: Any, seed: int) -> Iterator[str]:
    """The texts of a source that has texts, as the model reads them; conversations go through the chat template.

    Rows of a data set come in an order drawn by `seed`, and are read as they are needed. Raises UserError.
    """
    match calibration.source:
        case "text":
            yield read_file(calibration).decode("utf-8")
        case "chat":
            for conversation in _conversations(read_file(calibration), calibration):
                yield templated(tokenizer, conversation)
        case "dataset":
            from whichbits.quantize.dataset import rows

            for row in rows(calibration, seed):
                # Documents end as they did when the model was trained; a chat template does that by itself.
                yield templated(tokenizer, row) if isinstance(row, list) else row + (tokenizer.eos_token or "")


def read_file(calibration: Calibration) -> bytes:
    """Content of the calibration file. Raises UserError where it is not readable UTF-8 or has another SHA-256."""
    path = Path(calibration.file or "")
    try:
        content = path.read_bytes()
        content.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"calibration file {path} cannot be read: {error}", remedy="give a readable UTF-8 file") from error
    check_sha256(calibration, hashlib.sha256(content).hexdigest(), f"calibration file {path}")
    return content


def check_sha256(calibration: Calibration, digest: str, what: str) -> None:
    """Raises UserError where `what` has another SHA-256 than the recipe says."""
    if calibration.sha256 not in (None, digest):
        raise UserError(
            f"{what} has SHA-256 {digest}, not {calibration.sha256}",
            remedy="restore what was meant, or leave sha256 out",
        )


def templated(tokenizer: Any, conversation: Messages) -> str:
    """A conversation as the model sees it. Raises UserError where there is no chat template or it refuses."""
    from jinja2 import TemplateError

    if not tokenizer.chat_template:
        raise UserError(
            f"{tokenizer.name_or_path} has no chat template", remedy="calibrate on text, or on what the model writes itself"
        )
    try:
        text: str = tokenizer.apply_chat_template(conversation, tokenize=False)
    except TemplateError as error:
        raise UserError(
            f"the chat template refuses a calibration conversation: {error}", remedy="bring its roles into the template's order"
        ) from error
    return text


def messages(value: Any) -> Messages:
    """A conversation, [{"role", "content"}, ...], of JSON or of a data set. Raises ValueError, KeyError or TypeError."""
    return [{"role": str(each["role"]), "content": str(each["content"])} for each in value]


def _conversations(content: bytes, calibration: Calibration) -> Iterator[Messages]:
    """The `messages` of each line."""
    for number, line in enumerate(content.decode("utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            conversation = messages(json.loads(line)["messages"])
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"calibration file {calibration.file}, line {number} is not a conversation",
                remedy='write a line as {"messages": [{"role": "user", "content": "..."}, ...]}',
            ) from error
        yield conversation
