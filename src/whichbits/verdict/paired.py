"""Scores of base and candidate on the same items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from whichbits.verdict.statistics import FloatArray, cluster_sums


@dataclass(frozen=True)
class Paired:
    """Scores (0–1) of base and candidate on the same items, both (items,), with the score that guessing gets.

    `cluster` names what each item shares with others (a document, a subject); None where items are independent.
    """

    base: FloatArray
    score: FloatArray
    chance: float = 0.0
    cluster: Sequence[object] | None = None

    @property
    def items(self) -> int:
        """Number of items."""
        return len(self.base)

    @property
    def base_above_chance(self) -> float:
        """Mean score of the base above chance."""
        return float(self.base.mean()) - self.chance

    @property
    def above_chance(self) -> float:
        """Mean score of the candidate above chance."""
        return float(self.score.mean()) - self.chance

    @property
    def cluster_sizes(self) -> FloatArray:
        """Items of each cluster, (clusters,); ones where items are independent."""
        return cluster_sums(np.ones(self.items), self.cluster)

    @property
    def clustered(self) -> bool:
        """Whether some items share a cluster."""
        return self.cluster is not None and len(self.cluster_sizes) < self.items

    @property
    def clusters(self) -> float:
        """Effective number of clusters, n² / Σ size² (Kish): that of clusters of equal size which say as much."""
        return self.items**2 / float(np.sum(self.cluster_sizes**2))


def suite_ratio(pairs: Sequence[Paired]) -> float:
    """Σ mean(score − chance) / Σ mean(base − chance) over tasks."""
    return sum(pair.above_chance for pair in pairs) / sum(pair.base_above_chance for pair in pairs)
