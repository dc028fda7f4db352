"""Perplexity of the candidate and of the base: exp of the mean negative log-likelihood of the tokens that follow."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from whichbits.schema.metrics import Measure
from whichbits.similarity.measure import DistributionMeasure, Positions

if TYPE_CHECKING:
    from torch import Tensor


class Perplexity(DistributionMeasure):
    """exp(-mean ln q(next))."""

    described: ClassVar[Measure] = Measure(
        key="perplexity", title="Perplexity", better="lower", sums="nll_sum", weights="tokens", exponential=True
    )

    def values(self, at: Positions) -> Tensor:
        """Negative log-likelihood at each position, nats."""
        return _negative_log_likelihood(at.log_q, at.targets)


class BasePerplexity(DistributionMeasure):
    """exp(-mean ln p(next))."""

    described: ClassVar[Measure] = Measure(
        key="base_perplexity",
        title="Perplexity of the base",
        better="lower",
        sums="base_nll_sum",
        weights="tokens",
        exponential=True,
        shown=False,
    )

    def values(self, at: Positions) -> Tensor:
        """Negative log-likelihood at each position, nats."""
        return _negative_log_likelihood(at.log_p, at.targets)


def _negative_log_likelihood(logarithms: Tensor, targets: Tensor) -> Tensor:
    return -logarithms.gather(-1, targets[:, None]).squeeze(-1)
