"""Scores of base and candidate on the same items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from whichbits.verdict.statistics import FloatArray, cluster_numbers


@dataclass(frozen=True)
class Paired:
    """Scores (0–1) of base and candidate on the same items, both (items,), with the score that guessing gets.

    `cluster` names what each item shares with others (a document, a subject); None where items are independent.
    """

    base: FloatArray
    score: FloatArray
    chance: float = 0.0
    cluster: Sequence[object] | NDArray[np.intp] | None = None

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

    @cached_property
    def _cluster_numbers(self) -> NDArray[np.intp] | None:
        return None if self.cluster is None else cluster_numbers(self.cluster)

    def sums(self, values: FloatArray) -> FloatArray:
        """`values` (items,) summed over the items of each cluster, (clusters,); as they are where items are independent."""
        if self._cluster_numbers is None:
            return values
        return np.bincount(self._cluster_numbers, values).astype(np.float64)

    @cached_property
    def cluster_sizes(self) -> FloatArray:
        """Items of each cluster, (clusters,); ones where items are independent."""
        return self.sums(np.ones(self.items))

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
