"""Files that are whole or not there."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from whichbits.core.errors import UserError


def write_atomically(path: Path, text: str | Iterable[str]) -> None:
    """Write a file that is either whole or not there: written aside, then renamed into place.

    `text` may come in parts, which are not held in memory together.

    Raises:
        UserError: the folder cannot be written (disk full, no permission, ...).
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with aside.open("w", encoding="utf-8") as file:
            file.writelines([text] if isinstance(text, str) else text)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except OSError as error:
        with suppress(OSError):
            aside.unlink()
        remedy = "free some space, or name a folder that can be written"
        raise UserError(f"cannot write {path}: {error.strerror or error}", remedy=remedy) from error
