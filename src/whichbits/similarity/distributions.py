"""Next-token distributions of a candidate beside the base's, over the whole vocabulary."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import exp, fsum, isfinite

import torch
from torch import Tensor

from whichbits.schema.distribution import DistributionSummary
from whichbits.schema.metrics import Measure, Measured
from whichbits.similarity.measure import DistributionMeasure, Positions

Logits = Callable[[Tensor], Tensor]
"""Token ids (int64, [tokens]) to next-token logits (floating, [tokens, vocabulary])."""


@dataclass(frozen=True)
class WindowComparison:
    """What one window says: the sum of each of `measures` over the tokens that it predicts."""

    window: int
    tokens: int
    measures: tuple[Measure, ...]
    sums: tuple[float, ...]

    def row(self) -> dict[str, float]:
        """A row of the `distribution` step's items."""
        columns = {measure.column: total for measure, total in zip(self.measures, self.sums, strict=True)}
        return {"window": self.window, "tokens": self.tokens, **columns}


def compare_logits(
    base: Tensor, candidate: Tensor, targets: Tensor, measures: Sequence[DistributionMeasure], *, block: int = 64
) -> tuple[float, ...]:
    """The sum of each measure over positions.

    `base` and `candidate` are logits [tokens, vocabulary], `targets` the tokens that followed [tokens]. `block` positions at a
    time are taken to float32, which bounds the memory to a few times block · vocabulary · 4 bytes. Raises ValueError for
    shapes that do not fit or results that are not finite.
    """
    if base.shape != candidate.shape or base.shape[:1] != targets.shape:
        shapes = f"{tuple(base.shape)}, {tuple(candidate.shape)} and {tuple(targets.shape)}"
        raise ValueError(f"logits of base and candidate and targets have shapes {shapes}")
    totals: list[float] = [0] * len(measures)
    for start in range(0, len(targets), block):
        ours, theirs, following = (rows[start : start + block] for rows in (base, candidate, targets))
        log_p, log_q = (logits.float().log_softmax(-1) for logits in (ours, theirs))
        at = Positions(ours, theirs, log_p, log_q, following)
        for place, measure in enumerate(measures):
            totals[place] += _sum(measure.values(at))
    if not all(map(isfinite, totals)):
        sums = {measure.described.key: total for measure, total in zip(measures, totals, strict=True)}
        raise ValueError(f"sums over next-token distributions are not finite: {sums}")
    return tuple(totals)


def _sum(values: Tensor) -> float:
    """The sum in float64; of counts, a whole number."""
    total: float = (values.double() if values.is_floating_point() else values).sum().item()
    return total


def compare_distributions(
    windows: Sequence[Sequence[int]],
    base: Logits,
    candidate: Logits,
    measures: Sequence[DistributionMeasure],
    *,
    block: int = 64,
) -> Iterator[WindowComparison]:
    """One row a window of token ids: position t predicts token t + 1, so a window of L tokens scores L - 1."""
    described = tuple(measure.described for measure in measures)
    for index, window in enumerate(windows):
        ids = torch.tensor(window, dtype=torch.int64)
        context, targets = ids[:-1], ids[1:]
        ours, theirs = base(context), candidate(context)
        sums = compare_logits(ours, theirs, targets.to(ours.device), measures, block=block)
        yield WindowComparison(index, len(targets), described, sums)


def summarise(rows: Sequence[WindowComparison]) -> DistributionSummary:
    """Means over all tokens, and of exponential measures exp of it."""
    tokens = sum(row.tokens for row in rows)
    means = [fsum(sums) / tokens for sums in zip(*(row.sums for row in rows), strict=True)]
    measured = [
        Measured(measure=measure, value=exp(mean) if measure.exponential else mean)
        for measure, mean in zip(rows[0].measures, means, strict=True)
    ]
    return DistributionSummary(n_tokens=tokens, measures=tuple(measured))
