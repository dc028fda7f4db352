"""A recorded log of requests, as CSV or JSONL: when each came, and how many tokens its prompt and its output had."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from whichbits.core.errors import UserError
from whichbits.core.text import csv_lines, json_lines, read_bytes
from whichbits.schema.workload import MOST_TOKENS

MOST = 1_000_000
"""Requests of a log that are read."""
MEND = "mend the line, or take it out"


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


def _number(written: Any) -> float:
    """A number, or the text of one; `true` is none."""
    if isinstance(written, bool) or not isinstance(written, int | float | str):
        raise TypeError(f"{written!r:.40} is not a number")
    return float(written)


def _count(written: Any) -> int:
    found = _number(written)
    if not found.is_integer():
        raise ValueError(f"{written!r:.40} is not a whole number")
    return int(found)


def _date(text: Any) -> float:
    return datetime.fromisoformat(str(text)).timestamp()


FORMS: Mapping[str, Form] = {
    "whichbits": Form("arrival_s", "prompt_tokens", "output_tokens", _number),
    "Mooncake": Form("timestamp", "input_length", "output_length", lambda written: _number(written) / 1000),
    "BurstGPT": Form("Timestamp", "Request tokens", "Response tokens", _number),
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
            request = Request(form.seconds(row[form.time]), _count(row[form.prompt]), _count(row[form.output]))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise UserError(
                f"trace {path}, line {number}: {form.time}, {form.prompt} or {form.output} cannot be read: {str(error)[:200]}",
                remedy=MEND,
            ) from error
        lengths_fit = 1 <= request.prompt_tokens <= MOST_TOKENS and 0 <= request.output_tokens <= MOST_TOKENS
        if not abs(request.arrival_s) < 1e12 or not lengths_fit:
            raise UserError(
                f"trace {path}, line {number}: a request of {request.prompt_tokens:g} and {request.output_tokens:g} tokens "
                f"at {request.arrival_s:g} s cannot be sent",
                remedy=MEND,
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
    content = read_bytes(path, f"trace {path}")
    numbered = csv_lines(content, f"trace {path}") if path.suffix.lower() == ".csv" else _jsonl(path, content)
    for count, (number, row) in enumerate(numbered):
        if count >= MOST:
            raise UserError(f"trace {path} has over {MOST:,} requests", remedy="give a part of it")
        yield number, row


def _jsonl(path: Path, content: bytes) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, row in json_lines(content, f"trace {path}"):
        if not isinstance(row, dict):
            raise UserError(f"trace {path}, line {number} is not an object", remedy="give one object a line, or a .csv")
        yield number, row
