"""Questions to the predictor, in Python and as rows of a table."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from whichbits.errors import UserError

MAX = float("inf")
"""As a concurrency: as many requests in flight as give the highest rate."""
COLUMNS = ("model", "format", "hardware", "count", "prompt_tokens", "output_tokens", "concurrency")
"""Columns that a table of questions must have."""


@dataclass(frozen=True)
class Query:
    """One question, in the user's words.

    One of `concurrency` (requests in flight over all devices; infinity for the highest rate) and `rate` (requests a second).
    """

    model: str
    format: str
    hardware: str
    count: int
    prompt_tokens: int
    output_tokens: int
    concurrency: float = 1.0
    rate: float | None = None
    tensor_parallel: int | None = None
    engine: str = "vllm"

    def check(self) -> None:
        """Raise UserError for numbers that cannot be."""
        for name in ("count", "prompt_tokens", "output_tokens"):
            if getattr(self, name) < 1:
                raise UserError(f"{name}: {getattr(self, name)} is not at least 1", remedy=f"give a positive {name}")
        if self.tensor_parallel is not None and (self.tensor_parallel < 1 or self.count % self.tensor_parallel):
            raise UserError(
                f"tensor_parallel: {self.tensor_parallel} does not divide the count {self.count}",
                remedy="give a divisor of the number of devices",
            )
        if self.rate is None and not self.concurrency >= 1:
            raise UserError(
                f"concurrency: {self.concurrency:g} is not at least 1", remedy="a number of requests in flight, or max"
            )
        if self.rate is not None and not 0 < self.rate < MAX:
            raise UserError(f"rate: {self.rate:g} is not a positive number", remedy="give requests a second")


def parse_concurrency(text: str) -> float:
    """Requests in flight that `text` names: a number, or `max`. Raises UserError where it does neither."""
    if text.strip().lower() == "max":
        return MAX
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not (isfinite(value) and value >= 1):
        raise UserError(f"concurrency: {text!r} is not at least 1", remedy="a number of requests in flight, or max")
    return value


def question(row: Mapping[str, str]) -> Query:
    """The question of a table's row: COLUMNS, and `tensor_parallel` and `engine` where they are given.

    Raises UserError for a cell that is empty or has no number where one belongs.
    """
    cells = {name: (row.get(name) or "").strip() for name in (*COLUMNS, "tensor_parallel", "engine")}
    for name in COLUMNS:
        if not cells[name]:
            raise UserError(f"{name}: is missing", remedy=f"fill the columns {', '.join(COLUMNS)}")
    query = Query(
        model=cells["model"],
        format=cells["format"],
        hardware=cells["hardware"],
        count=_whole(cells, "count"),
        prompt_tokens=_whole(cells, "prompt_tokens"),
        output_tokens=_whole(cells, "output_tokens"),
        concurrency=parse_concurrency(cells["concurrency"]),
        tensor_parallel=_whole(cells, "tensor_parallel") if cells["tensor_parallel"] else None,
        engine=cells["engine"] or "vllm",
    )
    query.check()
    return query


def _whole(cells: Mapping[str, str], name: str) -> int:
    """The whole number in a cell, be it written as 2 or as 2.0."""
    try:
        value = float(cells[name])
    except ValueError:
        value = float("nan")
    if not value.is_integer():
        raise UserError(f"{name}: {cells[name]!r} is not a whole number", remedy=f"give a positive {name}")
    return int(value)


def read_rows(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file with a header; a cell that is missing at the end of a line is empty.

    Raises UserError for a file that cannot be read and a line with more cells than the header.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            rows = list(csv.DictReader(stream, restval=""))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: {error}", remedy="give a CSV file with a header line") from error
    for number, row in enumerate(rows, start=2):
        if None in row:
            raise UserError(
                f"{path}, line {number}: has more cells than the header",
                remedy="quote cells that hold commas, or name all columns",
            )
    return rows
