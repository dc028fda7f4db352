"""Where two texts part, and whether they do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from whichbits.schema.metrics import Measure
from whichbits.similarity.measure import TextMeasure

if TYPE_CHECKING:
    from whichbits.schema.generate import GeneratedText
    from whichbits.similarity.encoders import Encoders


class FirstDifference(TextMeasure):
    """Index of the first character that differs, as a mean over the texts that are not the same."""

    described: ClassVar[Measure] = Measure(
        key="first_difference", title="First difference", unit="characters", better="higher", shown=False
    )

    def scores(
        self, base: Sequence[GeneratedText], candidate: Sequence[GeneratedText], encoders: Encoders
    ) -> Sequence[int | None]:
        """The index in each pair; None where the texts are the same."""
        return [first_difference(ours.text, theirs.text) for ours, theirs in zip(base, candidate, strict=True)]


class FirstToken(TextMeasure):
    """Index of the first token that differs, as a mean over the texts that are not the same."""

    described: ClassVar[Measure] = Measure(key="first_token", title="First divergence", unit="tokens", better="higher")

    def scores(
        self, base: Sequence[GeneratedText], candidate: Sequence[GeneratedText], encoders: Encoders
    ) -> Sequence[int | None]:
        """The index in each pair; None where the texts are the same, or their tokens are not known."""
        return [
            None if ours.token_ids is None or theirs.token_ids is None else first_difference(ours.token_ids, theirs.token_ids)
            for ours, theirs in zip(base, candidate, strict=True)
        ]


class Identical(TextMeasure):
    """Share of texts that are the same."""

    described: ClassVar[Measure] = Measure(key="identical", title="Identical texts", unit="%", better="higher", shown=False)

    def scores(self, base: Sequence[GeneratedText], candidate: Sequence[GeneratedText], encoders: Encoders) -> Sequence[float]:
        """1 for a pair of equal texts, else 0."""
        return [float(ours.text == theirs.text) for ours, theirs in zip(base, candidate, strict=True)]


def first_difference(left: Sequence[object], right: Sequence[object]) -> int | None:
    """Index of the first character or token in which two differ (the end of the shorter one counts); None where they do not."""
    if left == right:
        return None
    common = zip(left, right, strict=False)
    return next((index for index, (one, other) in enumerate(common) if one != other), min(len(left), len(right)))
