"""Next-token distributions of a candidate beside the base's, over the whole vocabulary."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import exp, fsum

import torch
from torch import Tensor

from whichbits.schema.distribution import DistributionSummary

Logits = Callable[[Tensor], Tensor]
"""Token ids (int64, [tokens]) to next-token logits (floating, [tokens, vocabulary])."""


@dataclass(frozen=True)
class WindowComparison:
    """A row of the `distribution` step's items: sums over the tokens that one window predicts, in nats."""

    window: int
    tokens: int
    kl_sum: float
    top1_same: int
    nll_sum: float
    base_nll_sum: float


def compare_logits(base: Tensor, candidate: Tensor, targets: Tensor, *, block: int = 64) -> tuple[float, int, float, float]:
    """Sums over positions of KL(base ‖ candidate), equal top tokens, and the negative log-likelihoods of both.

    `base` and `candidate` are logits [tokens, vocabulary], `targets` the tokens that followed [tokens]. `block` positions at a
    time are taken to float32, which bounds the memory to a few times block · vocabulary · 4 bytes. Raises ValueError for
    shapes that do not fit or results that are not finite.
    """
    if base.shape != candidate.shape or base.shape[:1] != targets.shape:
        shapes = f"{tuple(base.shape)}, {tuple(candidate.shape)} and {tuple(targets.shape)}"
        raise ValueError(f"logits of base and candidate and targets have shapes {shapes}")
    totals = torch.zeros(3, dtype=torch.float64)
    same = 0
    for start in range(0, len(targets), block):
        ours, theirs, following = (rows[start : start + block] for rows in (base, candidate, targets))
        log_p, log_q = (logits.float().log_softmax(-1) for logits in (ours, theirs))
        # A token that the base rules out (−∞) contributes nothing. Rounding can leave a divergence just below 0.
        terms = torch.where(log_p.isneginf(), 0.0, log_p.exp() * (log_p - log_q))
        divergence = terms.sum(-1).clamp_min(0)
        likelihoods = [-values.gather(-1, following[:, None]).squeeze(-1) for values in (log_q, log_p)]
        totals += torch.stack([values.double().sum() for values in (divergence, *likelihoods)]).cpu()
        same += int((ours.argmax(-1) == theirs.argmax(-1)).sum())
    if not totals.isfinite().all():
        raise ValueError(f"sums of KL and negative log-likelihoods are not finite: {totals.tolist()}")
    kl, nll, base_nll = totals.tolist()
    return kl, same, nll, base_nll


def compare_distributions(
    windows: Sequence[Sequence[int]], base: Logits, candidate: Logits, *, block: int = 64
) -> Iterator[WindowComparison]:
    """One row a window of token ids: position t predicts token t + 1, so a window of L tokens scores L − 1."""
    for index, window in enumerate(windows):
        ids = torch.tensor(window, dtype=torch.int64)
        context, targets = ids[:-1], ids[1:]
        ours, theirs = base(context), candidate(context)
        kl, same, nll, base_nll = compare_logits(ours, theirs, targets.to(ours.device), block=block)
        yield WindowComparison(index, len(targets), kl, same, nll, base_nll)


def summarise(rows: Sequence[WindowComparison]) -> DistributionSummary:
    """Means over all tokens, and perplexities exp(mean negative log-likelihood)."""
    tokens = sum(row.tokens for row in rows)
    return DistributionSummary(
        n_tokens=tokens,
        kl=fsum(row.kl_sum for row in rows) / tokens,
        top1_agreement=sum(row.top1_same for row in rows) / tokens,
        perplexity=exp(fsum(row.nll_sum for row in rows) / tokens),
        base_perplexity=exp(fsum(row.base_nll_sum for row in rows) / tokens),
    )
