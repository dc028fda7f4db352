"""The answer that most of an item's answers give (self-consistency, Wang et al. 2023, arXiv 2203.11171)."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from whichbits.accuracy.reducers.reducer import Answer


@dataclass(frozen=True)
class Majority:
    """Score of the most frequent answer; of several that are as frequent the mean, as drawing one of them would give."""

    least_samples: int = 1

    def __call__(self, answers: Sequence[Answer]) -> float:
        """The score of the answers that won; an empty vote is no answer, and loses against any that is one."""
        votes = Counter(answer.vote for answer in answers if answer.vote)
        if not votes:
            return statistics.fmean(answer.score for answer in answers)
        most = max(votes.values())
        won = [vote for vote, count in votes.items() if count == most]
        return statistics.fmean(statistics.fmean(answer.score for answer in answers if answer.vote == vote) for vote in won)
