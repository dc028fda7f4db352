"""One published figure as it is printed, and what is known to be wrong with it."""

from __future__ import annotations

from dataclasses import dataclass

ERRATA = {
    "arena-hard-swapped": "W8A8-INT and W4A16-INT are swapped here: Table 7, Table 8 and the model card agree on the others",
    "average-misprinted": "the average of the two runs that are printed next to it is another",
    "mmlu-70b-differs": "MMLU of the 70B in Table 12 is not that of Table 2, nor are the averages over it; unexplained",
    "docstring-a100": "far from what the same GPU takes for neighbouring lengths; left out of fits",
    "priced-as-h100": "queries per dollar were computed with the price of H100; corrected on reading",
    "speed-up-405b-int8": "the table's own cells give 2.35 to 2.43, whatever their rounding",
    "arena-hard-of-int8": "repeats the W8A8-INT figure; the scores of the table give another",
    "header-differs-from-table": "the card's own table gives another figure",
}
"""What is wrong with a figure, by the code in the tables' column `erratum`."""


@dataclass(frozen=True)
class PublishedTable:
    """A table of a paper or of model cards."""

    name: str
    title: str
    source: str
    figures: int
    errata: int
    """How many of the figures are known to be wrong, or to contradict others."""


@dataclass(frozen=True)
class PublishedFigure:
    """One number of a table."""

    table: str
    source: str
    """Paper and table, or card. `-as-quoted` means that others quote the paper so: its own text was not seen."""
    model: str
    """Hub id; empty where the source does not say."""
    format: str
    setting: str
    """What else tells it from its neighbours: method, thinking mode, or hardware."""
    on: str
    """Task, suite, workload or prompts."""
    quantity: str
    printed: str
    erratum: str | None = None
    corrected: str | None = None
    """What is right, where that is known."""

    @property
    def value(self) -> float:
        """The figure, corrected where the right one is known."""
        return printed_number(self.corrected or self.printed)[0]

    @property
    def bounds(self) -> tuple[float, float]:
        """The least and the largest number that is rounded to it."""
        return printed_number(self.corrected or self.printed)[1:]


def printed_number(text: str) -> tuple[float, float, float]:
    """Value of a printed number such as `24.5` or `6.8k`, and the bounds of what rounds to it."""
    text = text.strip()
    scale = 1000.0 if text.endswith("k") else 1.0
    digits = text.removesuffix("k")
    half = 0.5 * 10 ** -len(digits.partition(".")[2]) * scale
    value = float(digits) * scale
    return value, value - half, value + half
