"""Files of problems in a data directory, by their authors' names, and their rows."""

from __future__ import annotations

import gzip
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from whichbits.core.errors import UserError
from whichbits.core.text import csv_lines, json_lines, parse_json, read_bytes


def problem_file(data_dir: Path | None, patterns: Sequence[str], *, task: str, remedy: str) -> Path:
    """The one file of the data directory, or of a folder in it, whose name matches. Raises UserError where there is not one."""
    if data_dir is None:
        raise UserError(f"data_dir: the problems of {task} are read from a local directory", remedy=remedy)
    found = optional_files(data_dir, patterns)
    if not found:
        raise UserError(f"data_dir: {data_dir} has no {patterns[0]}, the problems of {task}", remedy=remedy)
    if len(found) > 1:
        raise UserError(
            f"data_dir: the problems of {task} are in {found[0]} and in {found[1]}", remedy="keep one of the two files"
        )
    return found[0]


def optional_files(data_dir: Path, patterns: Sequence[str]) -> list[Path]:
    """Files of the data directory, or of a folder in it, whose names match."""
    return sorted({path for pattern in patterns for place in (pattern, f"*/{pattern}") for path in data_dir.glob(place)})


class Row(BaseModel):
    """A problem as a file has it; fields that nothing reads are left out."""

    model_config = ConfigDict(frozen=True, extra="ignore", coerce_numbers_to_str=True)

    @field_validator("*", mode="before")
    @classmethod
    def _finite(cls, value: Any) -> Any:
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError("is no finite number")
        return value


Kind = TypeVar("Kind", bound=Row)


def rows(file: Path, kind: type[Kind]) -> list[Kind]:
    """Rows of a JSON list, of a file with an object a line, or of a CSV table with a header, plain or with gzip.

    Raises UserError where the file is none, and with the row and the field where a row is not of its kind.
    """
    content = read_bytes(file, f"data_dir: {file}")
    if file.suffix == ".gz":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError) as error:
            raise UserError(f"data_dir: {file} cannot be unpacked: {error}", remedy="download it again") from error
    return read_rows(content, file, kind, whole=file.name.removesuffix(".gz").endswith(".json"))


def read_rows(content: bytes, file: object, kind: type[Kind], *, whole: bool = False) -> list[Kind]:
    """Rows of the content of `file`: a table (.csv), an object a line, or a list. Raises UserError as `rows` does."""
    if str(file).endswith(".csv"):
        found: Any = [row for _, row in csv_lines(content, f"data_dir: {file}")]
    elif whole:
        found = parse_json(content, str(file), form="a JSON list of objects")
    else:
        found = [row for _, row in json_lines(content, str(file))]
    if not (isinstance(found, list) and found):
        raise UserError(f"data_dir: {file} is not a list of problems", remedy="download it again")
    return [read_row(row, f"data_dir: {file} row {number}", kind) for number, row in enumerate(found, start=1)]


def read_row(row: object, where: str, kind: type[Kind]) -> Kind:
    """A row as its kind; `where` is how an error calls it. Raises UserError with the field that is not as it should be."""
    try:
        return kind.model_validate(row)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the row"
        raise UserError(f"{where}: {field} is not as it should be: {first['msg']}", remedy="download it again") from error
