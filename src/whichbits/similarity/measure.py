"""What a measure of similarity is: of two texts, or of two next-token distributions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from whichbits.schema.metrics import Measure

if TYPE_CHECKING:
    from torch import Tensor

    from whichbits.schema.generate import GeneratedText
    from whichbits.similarity.encoders import Encoders


class SimilarityMeasure(ABC):
    """A measure, one class each; `described` is what verdict and report show of it."""

    described: ClassVar[Measure]


class TextMeasure(SimilarityMeasure):
    """A measure of a candidate's texts against the base's."""

    @abstractmethod
    def scores(
        self, base: Sequence[GeneratedText], candidate: Sequence[GeneratedText], encoders: Encoders
    ) -> Sequence[float | None]:
        """A value for each pair of texts, in their order; None for a pair that has none."""


class Likeness(TextMeasure):
    """A measure from 0 to 1 that is 1 for identical texts, and 0 for an empty one against another, by definition.

    The libraries, which score two empty texts as 0, are not asked about such pairs.
    """

    @abstractmethod
    def likeness(self, base: Sequence[str], candidate: Sequence[str], encoders: Encoders) -> Sequence[float]:
        """Scores of candidate texts against base texts, in their order; none is empty."""

    def scores(self, base: Sequence[GeneratedText], candidate: Sequence[GeneratedText], encoders: Encoders) -> Sequence[float]:
        """Scores of all pairs."""
        known = [_by_definition(ours.text, theirs.text) for ours, theirs in zip(base, candidate, strict=True)]
        left, right = (
            [row.text for row, score in zip(rows, known, strict=True) if score is None] for rows in (base, candidate)
        )
        asked = iter(self.likeness(left, right, encoders) if left else ())
        return [next(asked) if score is None else score for score in known]


def _by_definition(left: str, right: str) -> float | None:
    left, right = left.strip(), right.strip()
    if left == right:
        return 1.0
    return None if left and right else 0.0


@dataclass(frozen=True)
class Positions:
    """Next-token distributions of base and candidate at some positions of one window, the vocabulary last.

    `base` and `candidate` are logits, `log_p` and `log_q` the base's and the candidate's log-probabilities in float32, all
    [tokens, vocabulary]; `targets` are the tokens that followed, [tokens].
    """

    base: Tensor
    candidate: Tensor
    log_p: Tensor
    log_q: Tensor
    targets: Tensor


class DistributionMeasure(SimilarityMeasure):
    """A measure of next-token distributions: its column of the items holds the sum over the positions of each window.

    Its `described` has `weights` of "tokens", for the mean over positions.
    """

    @abstractmethod
    def values(self, at: Positions) -> Tensor:
        """A value for each position, [tokens]."""
