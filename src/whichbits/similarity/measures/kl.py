"""Kullback-Leibler divergence of the candidate's next-token distribution from the base's."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from whichbits.schema.metrics import Measure
from whichbits.similarity.measure import DistributionMeasure, Positions

if TYPE_CHECKING:
    from torch import Tensor


class KlDivergence(DistributionMeasure):
    """KL(base ‖ candidate) = Σ p · (ln p - ln q) over the vocabulary, nats."""

    described: ClassVar[Measure] = Measure(
        key="kl", title="KL divergence of the next token", unit="nats", better="lower", sums="kl_sum", weights="tokens"
    )

    def values(self, at: Positions) -> Tensor:
        """The divergence at each position."""
        import torch

        # A token that the base rules out (-inf) contributes nothing. Rounding can leave a divergence just below 0.
        terms = torch.where(at.log_p.isneginf(), 0.0, at.log_p.exp() * (at.log_p - at.log_q))
        return terms.sum(-1).clamp_min(0)
