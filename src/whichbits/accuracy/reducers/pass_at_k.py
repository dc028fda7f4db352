"""pass@k: the probability that one of k answers is right, without bias from n ≥ k of them (Chen et al. 2021, 2107.03374)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from whichbits.accuracy.reducers.reducer import Answer
from whichbits.core.errors import UserError


def pass_at_k(n: int, right: int, k: int) -> float:
    """1 − C(n − right, k) / C(n, k): the share of the sets of k of n answers that hold a right one."""
    return 1 - math.comb(n - right, k) / math.comb(n, k)


@dataclass(frozen=True)
class PassAtK:
    """Probability that one of `k` answers is right."""

    k: int

    @property
    def least_samples(self) -> int:
        """`k`."""
        return self.k

    def __call__(self, answers: Sequence[Answer]) -> float:
        """The unbiased estimate. Raises UserError for a score that is neither 0 nor 1."""
        if other := [answer.score for answer in answers if answer.score not in (0, 1)]:
            raise UserError(
                f"reducer: pass@{self.k} counts right answers, and one has the score {other[0]:g}",
                remedy="choose the reducer mean",
            )
        return pass_at_k(len(answers), sum(answer.score == 1 for answer in answers), self.k)
