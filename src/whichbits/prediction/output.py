"""Files for answers: whether they can be written is known before anything is computed, and they are whole or not there."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from whichbits.core.errors import UserError


def check_writable(field: str, path: Path) -> None:
    """Raise UserError, by the name of the field, where no file can be written at `path`."""
    if path.is_dir():
        raise UserError(f"{field}: {path} is a folder", remedy="name a file in it")
    if not path.parent.is_dir():
        raise UserError(f"{field}: {path.parent} is no folder", remedy="make it, or name a file in one that is there")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise UserError(f"{field}: {path} cannot be written", remedy="name a file that can")


def write_whole(field: str, path: Path, text: str) -> None:
    """Write `text` aside and rename it to `path`; a link or a device is written through. Raises UserError where that fails."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        if path.exists() and not (path.is_file() and not path.is_symlink()):
            path.write_text(text, encoding="utf-8")
            return
        aside.write_text(text, encoding="utf-8")
        aside.replace(path)
    except OSError as error:
        with suppress(OSError):
            aside.unlink()
        raise UserError(f"{field}: {path}: {error.strerror}", remedy="name a file that can be written") from error
