"""Two sets of generated texts side by side, item by item."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

from whichbits.schema.compare import CompareSummary
from whichbits.schema.generate import GeneratedText
from whichbits.schema.metrics import Measure, Measured
from whichbits.similarity.encoders import Encoders
from whichbits.similarity.measure import TextMeasure

Cell = str | float | None


@dataclass(frozen=True)
class TextComparison:
    """How alike texts are by each of `measures`: `scores` holds a column a measure, a value an item."""

    items: tuple[str, ...]
    measures: tuple[Measure, ...]
    scores: tuple[tuple[float | None, ...], ...]

    def rows(self) -> Iterator[dict[str, Cell]]:
        """The rows of the `compare` step's items."""
        for item, *values in zip(self.items, *self.scores, strict=True):
            yield {"item": item, **{each.column: value for each, value in zip(self.measures, values, strict=True)}}

    def summary(self) -> CompareSummary:
        """Number of texts and the mean of each measure over the texts that have it."""
        means = tuple(_mean(values) for values in self.scores)
        measured = [Measured(measure=each, value=mean) for each, mean in zip(self.measures, means, strict=True)]
        return CompareSummary(n=len(self.items), measures=tuple(measured))


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def pair(base: Sequence[GeneratedText], candidate: Sequence[GeneratedText]) -> list[tuple[GeneratedText, GeneratedText]]:
    """Texts joined on item, in the base's order.

    Raises ValueError where an item occurs twice, is missing on one side, or was generated from different prompts.
    """
    ours, theirs = ({row.item: row for row in rows} for rows in (base, candidate))
    if len(ours) != len(base) or len(theirs) != len(candidate):
        raise ValueError("an item occurs twice among the generated texts")
    if ours.keys() != theirs.keys():
        raise ValueError(f"items on one side only: {', '.join(sorted(ours.keys() ^ theirs.keys())[:5])}")
    different = [item for item, row in ours.items() if row.prompt_hash != theirs[item].prompt_hash]
    if different:
        raise ValueError(f"prompts differ between base and candidate: {', '.join(different[:5])} ({len(different)} items)")
    return [(row, theirs[item]) for item, row in ours.items()]


def compare_texts(
    base: Sequence[GeneratedText], candidate: Sequence[GeneratedText], measures: Sequence[TextMeasure], encoders: Encoders
) -> TextComparison:
    """Each candidate text against the base's, by all measures.

    Raises ValueError where the two sides cannot be joined (see `pair`), UserError for an encoder that cannot be used.
    """
    pairs = pair(base, candidate)
    left, right = [ours for ours, _ in pairs], [theirs for _, theirs in pairs]
    return TextComparison(
        items=tuple(row.item for row in left),
        measures=tuple(measure.described for measure in measures),
        scores=tuple(tuple(measure.scores(left, right, encoders)) for measure in measures),
    )
