"""How often base and candidate hold the same token for the likeliest."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from whichbits.schema.metrics import Measure
from whichbits.similarity.measure import DistributionMeasure, Positions

if TYPE_CHECKING:
    from torch import Tensor


class Top1Agreement(DistributionMeasure):
    """Share of positions at which arg max p = arg max q."""

    described: ClassVar[Measure] = Measure(
        key="top1_agreement",
        title="Top-1 agreement of the next token",
        unit="%",
        better="higher",
        sums="top1_same",
        weights="tokens",
    )

    def values(self, at: Positions) -> Tensor:
        """Whether they agree at each position."""
        return at.base.argmax(-1) == at.candidate.argmax(-1)
