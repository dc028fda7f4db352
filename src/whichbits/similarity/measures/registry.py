"""The measures of similarity by name.

An installed package adds one by an entry point of the group `whichbits.similarity_measures`.
"""

from __future__ import annotations

from collections.abc import Sequence

from whichbits.core.entry_points import Registry
from whichbits.schema.metrics import ChosenMeasures
from whichbits.similarity.measure import DistributionMeasure, SimilarityMeasure, TextMeasure

GROUP = "whichbits.similarity_measures"
_HERE = "whichbits.similarity.measures"

MEASURES: Registry[SimilarityMeasure] = Registry(
    "measures",
    "measure of similarity",
    GROUP,
    ("whichbits.similarity.measure", "SimilarityMeasure"),
    {
        "rouge1": (f"{_HERE}.rouge", "Rouge1"),
        "rougeL": (f"{_HERE}.rouge", "RougeL"),
        "bertscore": (f"{_HERE}.bertscore", "BertScore"),
        "sts": (f"{_HERE}.sts", "SentenceSimilarity"),
        "first_difference": (f"{_HERE}.first_difference", "FirstDifference"),
        "first_token": (f"{_HERE}.first_difference", "FirstToken"),
        "identical": (f"{_HERE}.first_difference", "Identical"),
        "length_ratio": (f"{_HERE}.length_ratio", "LengthRatio"),
        "kl": (f"{_HERE}.kl", "KlDivergence"),
        "top1_agreement": (f"{_HERE}.top1_agreement", "Top1Agreement"),
        "perplexity": (f"{_HERE}.perplexity", "Perplexity"),
        "base_perplexity": (f"{_HERE}.perplexity", "BasePerplexity"),
    },
    own_name=lambda each: each.described.key,
)


def text_measures(names: Sequence[str] | None = None) -> tuple[TextMeasure, ...]:
    """Those of the named measures that are of texts; None names all of ours. Raises UserError as `Registry.get`."""
    return tuple(found for found in _named(names) if isinstance(found, TextMeasure))


def distribution_measures(names: Sequence[str] | None = None) -> tuple[DistributionMeasure, ...]:
    """Those of the named measures that are of distributions; None names all of ours. Raises UserError as `Registry.get`."""
    return tuple(found for found in _named(names) if isinstance(found, DistributionMeasure))


def identity(measures: Sequence[SimilarityMeasure], ours: Sequence[SimilarityMeasure]) -> ChosenMeasures:
    """What measures add to a step's inputs: their names, and the versions of other packages; nothing for all of `ours`."""
    names = [each.described.key for each in measures]
    if names == [each.described.key for each in ours]:
        return ChosenMeasures()
    packages = {package: version for name in names for package, version in MEASURES.packages(name).items()}
    return ChosenMeasures(measures=tuple(names), packages=packages or None)


def _named(names: Sequence[str] | None) -> list[SimilarityMeasure]:
    return [MEASURES.get(name) for name in dict.fromkeys(MEASURES.ours if names is None else names)]
