"""Files of the user's, read the same everywhere: UTF-8 with or without a byte-order mark, JSON lines split at line feeds alone.

`str.splitlines` also splits at U+2028, U+0085, form feeds and others, which are content within a JSON string.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections.abc import Iterator, Mapping
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from whichbits.core.errors import UserError


def read_bytes(path: Path | Traversable, name: str) -> bytes:
    """Content of a file that errors call `name`; raises UserError where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(
            f"{name} cannot be read ({error.strerror or error})", remedy="give the path of a readable file"
        ) from error


def read_text(path: Path | Traversable, name: str) -> str:
    """Text of a file that errors call `name`, lines ended by a line feed; raises UserError where it is not UTF-8."""
    return decode(read_bytes(path, name), name)


FOREIGN: Mapping[bytes, tuple[str, str]] = {
    codecs.BOM_UTF16_LE: ("in UTF-16 or UTF-32", "save the file as UTF-8"),
    codecs.BOM_UTF16_BE: ("in UTF-16 or UTF-32", "save the file as UTF-8"),
    b"\x1f\x8b": ("compressed (gzip)", "unpack it"),
    b"\x28\xb5\x2f\xfd": ("compressed (zstd)", "unpack it"),
    b"PK\x03\x04": ("a ZIP archive", "unpack it"),
    b"PAR1": ("a Parquet file", "write its rows as JSON lines"),
    b"ARROW1": ("an Arrow file", "write its rows as JSON lines"),
}
"""What a file that is no text in UTF-8 often is, by its first bytes, and what to do about it."""


def refuse_foreign(content: bytes, name: str) -> None:
    """Raise UserError for content of a file that is no text in UTF-8: another encoding, an archive, a table.

    UTF-16 without a byte-order mark would be read as UTF-8 with a NUL in every character.
    """
    for beginning, (what, remedy) in FOREIGN.items():
        if content.startswith(beginning):
            raise UserError(f"{name} is {what}, not text in UTF-8", remedy=remedy)
    place = content.find(b"\0")
    if place >= 0:
        line = content[:place].count(b"\n") + 1
        raise UserError(f"{name} line {line} holds a NUL, which is no text", remedy="save the file as UTF-8")


def decode(content: bytes, name: str) -> str:
    """Text of a file's content, without a byte-order mark, lines ended by a line feed; raises UserError with the line."""
    refuse_foreign(content, name)
    try:
        text = content.removeprefix(codecs.BOM_UTF8).decode("utf-8")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise UserError(f"{name} line {line} is not UTF-8", remedy="save the file as UTF-8") from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def json_lines(content: bytes, name: str) -> Iterator[tuple[int, Any]]:
    """Number (from 1) and value of each line that is not empty; raises UserError with the line where it is not JSON."""
    refuse_foreign(content, name)
    for number, line in enumerate(content.removeprefix(codecs.BOM_UTF8).split(b"\n"), start=1):
        if line.strip():
            yield number, parse_json(line, f"{name} line {number}")


def csv_lines(content: bytes, name: str) -> Iterator[tuple[int, dict[str | Any, str | Any]]]:
    """Number of the last line (from 1) and cells by column of each row of a table with a header.

    Raises UserError where it is no text, and with the line where it is not CSV.
    """
    # Strict: else a quoted cell that does not end takes the rest of the file.
    reader = csv.DictReader(io.StringIO(decode(content, name), newline=""), strict=True)
    try:
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        raise UserError(
            f"{name} line {reader.line_num} is not CSV: {error}", remedy="end each quoted cell, or take out the line"
        ) from error


def parse_json(content: bytes, where: str, *, form: str = "one JSON object a line") -> Any:
    """A JSON value that can be written as UTF-8; raises UserError that begins with `where` and asks for `form`."""

    def mistake(problem: str, remedy: str) -> UserError:
        return UserError(f"{where}, text: {problem}", remedy=remedy)

    try:
        value = json.loads(content.removeprefix(codecs.BOM_UTF8).decode("utf-8"))
    except UnicodeDecodeError as error:
        raise mistake(f"not UTF-8 at byte {error.start}", "save the file as UTF-8") from error
    except json.JSONDecodeError as error:
        raise mistake(f"not JSON ({error.msg} at column {error.colno})", f"write {form}") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, lists in lists without end
        reason = str(error).partition(";")[0]
        raise mistake(f"not to be read ({reason})", "write numbers with fewer digits, and fewer lists in lists") from error
    if not _is_text(value):
        raise mistake("half of a surrogate pair, which is no character", r"write characters themselves, or both \u escapes")
    return value


def _is_text(value: Any) -> bool:
    """Whether all of a JSON value can be written as UTF-8."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True
