"""How long the candidate's texts are, compared with the base's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from whichbits.schema.metrics import Measure, Reference
from whichbits.similarity.measure import TextMeasure

if TYPE_CHECKING:
    from whichbits.schema.generate import GeneratedText
    from whichbits.similarity.encoders import Encoders


class LengthRatio(TextMeasure):
    """Tokens of the candidate's text over those of the base's, as the engine counted them."""

    described: ClassVar[Measure] = Measure(
        key="length_ratio",
        title="Length of the output over the base's",
        unit="×",
        better="neither",
        reference=Reference(value=1.0, title="as long as the base's"),
    )

    def scores(
        self, base: Sequence[GeneratedText], candidate: Sequence[GeneratedText], encoders: Encoders
    ) -> Sequence[float | None]:
        """The ratio of each pair; None where the base's text has no token."""
        pairs = zip(base, candidate, strict=True)
        return [theirs.tokens / ours.tokens if ours.tokens else None for ours, theirs in pairs]
