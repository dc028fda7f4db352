"""Cost reductions and speed-ups of Tables 5 and 6 of arXiv 2411.02355, computed again from the tables' cells.

A figure that is printed rounded stands for an interval; what follows from it is an interval too.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from whichbits.published.figures import PublishedFigure, printed_number
from whichbits.published.tables import figures

BASE = "bf16"
SECONDS_AN_HOUR = 3600
PRINTED = "cost-reduction"
"""Table of what is printed."""
CELLS = {"cost-reduction": "paper_table_5", "speed-up": "paper_table_6"}
"""The file of the cells that a printed mean is of, by its quantity."""


@dataclass(frozen=True)
class Interval:
    """A number, and the least and the largest that it may be."""

    value: float
    low: float
    high: float

    def over(self, other: Interval) -> Interval:
        """The ratio of two numbers above 0."""
        return Interval(self.value / other.value, self.low / other.high, self.high / other.low)


@dataclass(frozen=True)
class Cell:
    """Queries per dollar of one format on one workload."""

    printed: Interval
    """As printed."""
    computed: Interval
    """Of the printed latency, 3600 / (latency · price), or rate, rate · 3600 / price, at the price that the table used."""

    @property
    def both(self) -> Interval:
        """What both columns allow."""
        low, high = max(self.printed.low, self.computed.low), min(self.printed.high, self.computed.high)
        return Interval((low + high) / 2, low, high)

    @property
    def agrees(self) -> bool:
        """Whether some number is rounded to both."""
        return self.printed.low <= self.computed.high and self.computed.low <= self.printed.high


Place = tuple[str, str, str]
"""Model, device and format."""


@dataclass(frozen=True)
class Reduction:
    """A printed mean of ratios to BF16 over the seven workloads, and the same from the cells."""

    printed: PublishedFigure
    computed: Interval
    geometric: float
    """Geometric mean of the same ratios."""

    @property
    def agrees(self) -> bool:
        """Whether the cells, rounded as they are, allow what is printed."""
        low, high = self.printed.bounds
        return self.computed.low <= high and low <= self.computed.high


def reductions() -> Iterator[Reduction]:
    """Every printed cost reduction (Table 5) and speed-up (Table 6), with what its cells give.

    Both are arithmetic means of ratios of queries per dollar. In Table 5 each format has a number of devices of its own; in
    Table 6 all have the same, so that the price cancels and the ratio is one of rates.
    """
    for printed in figures(PRINTED):
        device = printed.setting.partition(" x ")[2]
        found = cells(CELLS[printed.quantity])
        base, own = (found[printed.model, device, format] for format in (BASE, printed.format))
        ratios = [own[workload].both.over(base[workload].both) for workload in base]
        mean = (sum(getattr(ratio, part) for ratio in ratios) / len(ratios) for part in ("value", "low", "high"))
        yield Reduction(printed, Interval(*mean), math.exp(sum(math.log(ratio.value) for ratio in ratios) / len(ratios)))


@cache
def cells(table: str) -> Mapping[Place, Mapping[str, Cell]]:
    """The cells of `paper_table_5` or `paper_table_6` by workload, for each model, device and format."""
    text = files("whichbits.published").joinpath(f"{table}.csv").read_text(encoding="utf-8")
    found: dict[Place, dict[str, Cell]] = {}
    for row in csv.DictReader(io.StringIO(text)):
        scale = SECONDS_AN_HOUR / float(row["price_per_hour"])
        value, low, high = printed_number(row.get("latency_s") or row["qps"])
        if "latency_s" in row:
            computed = Interval(scale / value, scale / high, scale / low)
        else:
            computed = Interval(scale * value, scale * low, scale * high)
        cell = Cell(Interval(*printed_number(row["queries_per_dollar"])), computed)
        found.setdefault((row["model"], row["hardware"], row["format"]), {})[row["workload"]] = cell
    return found
