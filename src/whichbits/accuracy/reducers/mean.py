"""The mean of the answers' scores: an unbiased estimate of the score of one answer."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from whichbits.accuracy.reducers.reducer import Answer


@dataclass(frozen=True)
class Mean:
    """Mean score of an item's answers."""

    least_samples: int = 1

    def __call__(self, answers: Sequence[Answer]) -> float:
        """Σ score / answers."""
        return statistics.fmean(answer.score for answer in answers)
