"""Questions to the predictor, in Python and as rows of a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from whichbits.core.errors import UserError
from whichbits.core.text import csv_lines, read_bytes

MAX = float("inf")
"""As a concurrency: as many requests in flight as give the highest rate."""
COLUMNS = ("model", "format", "hardware", "count", "prompt_tokens", "output_tokens", "concurrency")
"""Columns that a table of questions must have."""


MOST = 10**9
"""Most tokens and requests that are asked about."""
MOST_DEVICES = 4096


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
        for name, most in (("count", MOST_DEVICES), ("prompt_tokens", MOST), ("output_tokens", MOST)):
            value = getattr(self, name)
            if not (value >= 1 and value % 1 == 0):
                raise UserError(f"{name}: {value} is not a whole number from 1", remedy="give one")
            if value > most:
                raise UserError(f"{name}: {value!r:.40} is more than {most}", remedy=f"give a smaller {name}")
        if self.tensor_parallel is not None and (self.tensor_parallel < 1 or self.count % self.tensor_parallel):
            raise UserError(
                f"tensor_parallel: {self.tensor_parallel} does not divide the count {self.count}",
                remedy="give a divisor of the number of devices",
            )
        if self.rate is None and not (1 <= self.concurrency <= MOST or self.concurrency == MAX):
            raise UserError(
                f"concurrency: {self.concurrency:g} is not a number from 1 to {MOST}",
                remedy="a number of requests in flight, or max",
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
    if not 1 <= value <= MOST:
        raise UserError(
            f"concurrency: {text!r:.100} is not a number from 1 to {MOST}", remedy="a number of requests in flight, or max"
        )
    return value


def question(row: Mapping[str, str]) -> Query:
    """The question of a table's row: COLUMNS, and `tensor_parallel` and `engine` where they are given.

    Raises UserError for a cell that is empty or has no number where one belongs.
    """
    if SURPLUS in row:
        raise UserError(f"the row has {SURPLUS}", remedy="quote cells that hold commas, or name all columns")
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
        raise UserError(f"{name}: {cells[name]!r:.100} is not a whole number", remedy="give one")
    return int(value)


SURPLUS = "more cells than the header"
"""Name under which `read_rows` keeps cells that no column is for."""


def read_rows(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file with a header; a cell that is missing at the end of a line is empty.

    Cells that no column is for are kept under SURPLUS, joined. Raises UserError for a file that cannot be read.
    """
    rows = csv_lines(read_bytes(path, str(path)), str(path))
    return [
        {SURPLUS if name is None else name: ",".join(cells) if name is None else cells or "" for name, cells in row.items()}
        for _, row in rows
    ]
