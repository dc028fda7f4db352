"""Two sets of generated texts side by side, item by item."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from whichbits.schema.compare import CompareSummary
from whichbits.similarity.generate import GeneratedText
from whichbits.similarity.scorers import Scorer, rouge


@dataclass(frozen=True)
class TextComparison:
    """A row of the `compare` step's items; the four scores are 0–1, and 1 for identical texts."""

    item: str
    rouge1: float
    rougeL: float
    bertscore: float
    sts: float
    first_difference: int | None
    """Index of the first character that differs; None where the texts are the same."""
    length_ratio: float | None
    """Tokens of the candidate's text over those of the base's; None where the base's has none."""


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
    base: Sequence[GeneratedText], candidate: Sequence[GeneratedText], *, bertscore: Scorer, sts: Scorer
) -> list[TextComparison]:
    """Scores of each candidate text against the base's.

    Identical texts score 1 and an empty one against another 0 in every measure, by definition and without asking the library,
    which would score two empty texts as 0. Raises ValueError where the two sides cannot be joined (see `pair`).
    """
    pairs = pair(base, candidate)
    known = [_trivial_score(ours.text, theirs.text) for ours, theirs in pairs]
    open_pairs = [both for both, score in zip(pairs, known, strict=True) if score is None]
    left, right = [ours.text for ours, _ in open_pairs], [theirs.text for _, theirs in open_pairs]
    scored = iter(zip(*rouge(left, right), bertscore(left, right), sts(left, right), strict=True) if open_pairs else ())
    rows = []
    for (ours, theirs), score in zip(pairs, known, strict=True):
        rouge1, rouge_l, bert, sentence = next(scored) if score is None else (score,) * 4
        rows.append(
            TextComparison(
                item=ours.item,
                rouge1=rouge1,
                rougeL=rouge_l,
                bertscore=bert,
                sts=sentence,
                first_difference=first_difference(ours.text, theirs.text),
                length_ratio=theirs.tokens / ours.tokens if ours.tokens else None,
            )
        )
    return rows


def first_difference(left: str, right: str) -> int | None:
    """Index of the first character in which two texts differ (the end of the shorter one counts); None for equal texts."""
    if left == right:
        return None
    common = zip(left, right, strict=False)
    return next((index for index, (one, other) in enumerate(common) if one != other), min(len(left), len(right)))


def summarise(rows: Sequence[TextComparison]) -> CompareSummary:
    """Number of texts and the mean of each score."""
    return CompareSummary(
        n=len(rows),
        rouge1=fmean(row.rouge1 for row in rows),
        rougeL=fmean(row.rougeL for row in rows),
        bertscore=fmean(row.bertscore for row in rows),
        sts=fmean(row.sts for row in rows),
        identical=fmean(row.first_difference is None for row in rows),
    )


def _trivial_score(left: str, right: str) -> float | None:
    left, right = left.strip(), right.strip()
    if left == right:
        return 1.0
    return None if left and right else 0.0
