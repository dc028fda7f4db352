"""Recoveries from published scores, as their papers define them and above chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from whichbits.published.figures import PublishedFigure
from whichbits.published.tables import figures

SCORES = ("table-2", "table-3", "table-4-14")
"""Tables with the scores of base and formats."""
BASE_FORMATS = ("bf16", "fp16")
ABOVE_CHANCE = "leaderboard_"
"""What the tasks of Leaderboard V2 begin with: their scores are above chance as they are printed."""


@dataclass(frozen=True)
class Recomputed:
    """A recovery from printed scores, %: its value, and the least and largest that their rounding allows."""

    value: float
    low: float
    high: float

    def agrees(self, printed: PublishedFigure) -> bool:
        """Whether a printed recovery is what the scores give, to rounding."""
        low, high = printed.bounds
        return self.low <= high and low <= self.high


def ratio(scores: Sequence[PublishedFigure], base: Sequence[PublishedFigure], chance: float = 0.0) -> Recomputed:
    """100 · Σ (score − chance) / Σ (base's score − chance), over tasks; the papers' own definition has no chance.

    Scores and chance in points, 0 to 100.
    """
    above = [[figure.value - chance for figure in side] for side in (scores, base)]
    bounds = [[[end - chance for end in figure.bounds] for figure in side] for side in (scores, base)]
    (low, high), (base_low, base_high) = ([sum(ends) for ends in zip(*side, strict=True)] for side in bounds)
    return Recomputed(100 * sum(above[0]) / sum(above[1]), 100 * low / base_high, 100 * high / base_low)


def scores_of(table: str) -> Mapping[tuple[str, str], Mapping[str, PublishedFigure]]:
    """The scores of a table by (model, format), then by task; those of a method that is not the table's own are left out."""
    found: dict[tuple[str, str], dict[str, PublishedFigure]] = {}
    for figure in figures(table):
        if figure.quantity == "score" and figure.setting != "awq":
            found.setdefault((figure.model, figure.format), {})[figure.on] = figure
    return found


def suite_recovery(printed: PublishedFigure) -> Recomputed:
    """The recovery of a suite from the scores of the table that prints it, averages narrowing what rounding leaves open."""
    scores = scores_of(printed.table)
    of_format, of_base = (_suite(scores[printed.model, format], printed.on) for format in (printed.format, BASE_FORMATS[0]))
    averages = {
        figure.format: figure
        for figure in figures(printed.table)
        if (figure.quantity, figure.model, figure.on) == ("average", printed.model, printed.on)
    }
    exact = ratio(of_format, of_base)
    by_average = ratio([averages[printed.format]], [averages[BASE_FORMATS[0]]])
    low, high = max(exact.low, by_average.low), min(exact.high, by_average.high)
    return Recomputed(exact.value, low, high) if low <= high else exact


def _suite(scores: Mapping[str, PublishedFigure], suite: str) -> list[PublishedFigure]:
    """The scores of a suite's tasks; Table 3 has others next to those of Leaderboard V2."""
    return [figure for task, figure in scores.items() if suite != "leaderboard-v2" or task.startswith(ABOVE_CHANCE)]
