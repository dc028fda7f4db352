"""The tables that ship with the package: which there are, their figures, and those of one model."""

from __future__ import annotations

import csv
import difflib
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from whichbits.core.errors import UserError
from whichbits.published.figures import PublishedFigure, PublishedTable

PAPER = "arXiv 2411.02355"


@dataclass(frozen=True)
class _Entry:
    title: str
    source: str
    file: str
    numbers: tuple[int, ...] = ()
    """Numbers of the paper's tables that are in it."""


_TABLES: Mapping[str, _Entry] = {
    "table-1": _Entry("GPTQ against AWQ, both W4A16: averages", PAPER, "paper_table_1", (1,)),
    "table-2": _Entry("Llama-3.1: Open LLM Leaderboard V1", PAPER, "paper_table_2", (2,)),
    "table-3": _Entry("Llama-3.1: Open LLM Leaderboard V2, Arena-Hard, code, RULER", PAPER, "paper_table_3", (3,)),
    "table-4-14": _Entry("DeepSeek-R1-Distill: AIME24, MATH-500, GPQA-Diamond", PAPER, "paper_table_4_14", (4, 14)),
    "table-5": _Entry("Latency and queries per dollar, one request at a time", PAPER, "paper_table_5", (5,)),
    "table-6": _Entry("Highest rate and queries per dollar", PAPER, "paper_table_6", (6,)),
    "cost-reduction": _Entry("Mean cost reductions of Table 5, mean speed-ups of Table 6", PAPER, "paper_cost_reduction"),
    "table-7": _Entry("Arena-Hard, both runs", PAPER, "paper_table_7", (7,)),
    "table-8": _Entry("GPTQ against AWQ: Arena-Hard, both runs", PAPER, "paper_table_8", (8,)),
    "table-10-11": _Entry("Recovery by task of Leaderboard V1 and V2", PAPER, "paper_table_10_11", (10, 11)),
    "table-12": _Entry("GPTQ against AWQ: Leaderboard V1", PAPER, "paper_table_12", (12,)),
    "table-13": _Entry("GPTQ against AWQ: Leaderboard V2", PAPER, "paper_table_13", (13,)),
    "similarity": _Entry("Texts against the base's: Figure 1", PAPER, "paper_similarity"),
    "model-cards": _Entry("Recoveries in the headers of model cards", "Red Hat's model cards", "model_cards"),
    "r1-latency": _Entry("R1-Distill-Llama-8B: latency", "Red Hat's model card", "r1_distill_llama_8b_latency"),
    "r1-rate": _Entry("R1-Distill-Llama-8B: highest rate", "Red Hat's model card", "r1_distill_llama_8b_rate"),
    "openpangu": _Entry("openPangu: what is known of the paper, and the cards", "arXiv 2512.23367", "openpangu"),
}

SPEEDS = ("latency_s", "qps", "queries_per_dollar")
"""Columns of the tables of speeds that hold figures."""


def tables() -> tuple[PublishedTable, ...]:
    """All tables."""
    found = []
    for name, entry in _TABLES.items():
        rows = figures(name)
        wrong = sum(row.erratum is not None for row in rows)
        found.append(PublishedTable(name=name, title=entry.title, source=entry.source, figures=len(rows), errata=wrong))
    return tuple(found)


@cache
def figures(table: str) -> tuple[PublishedFigure, ...]:
    """The figures of a table in its order, by name (`table-2`, `similarity`) or number (`2`). Raises UserError."""
    name = _name(table)
    text = files("whichbits.published").joinpath(f"{_TABLES[name].file}.csv").read_text(encoding="utf-8")
    return tuple(figure for row in csv.DictReader(io.StringIO(text)) for figure in _figures(row, name))


def all_figures() -> Iterator[PublishedFigure]:
    """The figures of all tables."""
    for name in _TABLES:
        yield from figures(name)


def _figures(row: Mapping[str, str], table: str) -> Iterator[PublishedFigure]:
    """The figures of a line: one, or in tables of speeds one a column."""
    if "quantity" in row:
        yield PublishedFigure(
            table, row["source"], row["model"], row["format"], row["setting"], row["on"], row["quantity"], row["printed"],
            row["erratum"] or None, row["right"] or None,
        )  # fmt: skip
        return
    hardware = f"{row['count']} x {row['hardware']}"
    for quantity in SPEEDS:
        if row.get(quantity):
            # The price is wrong in what it was used for alone.
            wrong = None if row["erratum"] == "priced-as-h100" and quantity == "qps" else row["erratum"] or None
            yield PublishedFigure(
                table, row["source"], row["model"], row["format"], hardware, row["workload"], quantity, row[quantity], wrong
            )


def _name(table: str) -> str:
    name = table.strip().lower().replace(" ", "-")
    number = name.removeprefix("table-")
    by_number = {str(number): key for key, entry in _TABLES.items() for number in entry.numbers}
    if name in _TABLES or number in by_number:
        return name if name in _TABLES else by_number[number]
    near = difflib.get_close_matches(name, [*_TABLES, *(f"table-{number}" for number in by_number)], n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise UserError(
        f"table: {table!r:.200} is no published table", remedy=f"{hint}`whichbits published` lists them: {', '.join(_TABLES)}"
    )


def same_model(reference: str, published: str) -> bool:
    """Whether a hub id, a folder or a folder of the hub's cache has the name of a published model; owners may differ."""
    return bool(published) and _model_name(reference) == _model_name(published)


def _model_name(reference: str) -> str:
    """The name alone: no owner, no folder, no revision, no version of a release, nor the `Meta-` that Llama's once had."""
    cached = re.search(r"models--[^/]+?--([^/]+)/snapshots/[^/]+/?$", reference)
    name = cached[1] if cached else reference.partition("@")[0].rstrip("/").rsplit("/", 1)[-1]
    return re.sub(r"-v\d+(\.\d+)*$", "", name.lower()).removeprefix("meta-")
