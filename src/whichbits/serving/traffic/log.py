"""A recorded log of requests, as CSV or JSONL: when each came, and how many tokens its prompt and its output had."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from whichbits.core.errors import UserError
from whichbits.core.text import read_text

MOST = 1_000_000
"""Requests of a log that are read."""


@dataclass(frozen=True)
class Request:
    """One line of a log."""

    arrival_s: float
    prompt_tokens: int
    output_tokens: int


@dataclass(frozen=True)
class Form:
    """What a line's fields are called where a log comes from."""

    time: str
    prompt: str
    output: str
    seconds: Callable[[Any], float]
    """A time as it is written, in seconds."""


def _date(text: Any) -> float:
    return datetime.fromisoformat(str(text)).timestamp()


FORMS: Mapping[str, Form] = {
    "whichbits": Form("arrival_s", "prompt_tokens", "output_tokens", float),
    "Mooncake": Form("timestamp", "input_length", "output_length", lambda written: float(written) / 1000),
    "BurstGPT": Form("Timestamp", "Request tokens", "Response tokens", float),
    "Azure": Form("TIMESTAMP", "ContextTokens", "GeneratedTokens", _date),
}


def read_log(path: Path) -> tuple[Request, ...]:
    """The requests of a log by time, the first at 0; those without output (they failed) are left out.

    Raises UserError for a file of no known form, and for a line that cannot be read.
    """
    found = sorted(_requests(path), key=lambda request: request.arrival_s)
    if len(found) < 2 or found[0].arrival_s == found[-1].arrival_s:
        raise UserError(
            f"trace {path} holds no two requests of different times", remedy="give a log of requests over some time"
        )
    first = found[0].arrival_s
    return tuple(Request(one.arrival_s - first, one.prompt_tokens, one.output_tokens) for one in found)


def _requests(path: Path) -> Iterator[Request]:
    form: Form | None = None
    for number, row in _rows(path):
        form = form or _form(path, row)
        try:
            request = Request(form.seconds(row[form.time]), int(row[form.prompt]), int(row[form.output]))
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"trace {path}, line {number}: {form.time}, {form.prompt} or {form.output} cannot be read: {error}",
                remedy="mend the line, or take it out",
            ) from error
        if not abs(request.arrival_s) < 1e12 or request.prompt_tokens < 1 or not 0 <= request.output_tokens < 10**9:
            raise UserError(
                f"trace {path}, line {number}: a request of {request.prompt_tokens} and {request.output_tokens} tokens "
                f"at {request.arrival_s:g} s cannot be sent",
                remedy="mend the line, or take it out",
            )
        if request.output_tokens:
            yield request


def _form(path: Path, row: Mapping[str, Any]) -> Form:
    for form in FORMS.values():
        if {form.time, form.prompt, form.output} <= set(row):
            return form
    known = "; ".join(f"{name}: {form.time}, {form.prompt}, {form.output}" for name, form in FORMS.items())
    raise UserError(f"trace {path} has the fields {', '.join(map(str, row)) or 'none'}", remedy=f"name them as one of {known}")


def _rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Lines of the file with their numbers, from 1."""
    text = read_text(path, f"trace {path}")
    if path.suffix.lower() == ".csv":
        numbered: Iterator[tuple[int, Any]] = _csv_rows(path, text)
    else:
        numbered = ((number, _json(path, number, line)) for number, line in enumerate(text.split("\n"), 1) if line.strip())
    for count, (number, row) in enumerate(numbered):
        if count >= MOST:
            raise UserError(f"trace {path} has over {MOST:,} requests", remedy="give a part of it")
        yield number, row


def _csv_rows(path: Path, text: str) -> Iterator[tuple[int, Any]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)  # else a quoted cell without an end takes all the rest
    try:
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        raise UserError(f"trace {path}, line {reader.line_num} is not CSV: {error}", remedy="end each quoted cell") from error


def _json(path: Path, number: int, line: str) -> Mapping[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise UserError(
            f"trace {path}, line {number} is not JSON: {error}", remedy="give one object a line, or a .csv"
        ) from error
    if not isinstance(row, dict):
        raise UserError(f"trace {path}, line {number} is not an object", remedy="give one object a line, or a .csv")
    return row
