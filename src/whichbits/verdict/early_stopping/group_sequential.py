"""The group-sequential test: looks at shares of the information, with boundaries that spend the error a little at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import ClassVar

from whichbits.schema.early_stopping import FUTILITY
from whichbits.verdict.early_stopping.boundaries import HIGHEST, boundaries
from whichbits.verdict.early_stopping.spending import obrien_fleming_like
from whichbits.verdict.score_test import find_root
from whichbits.verdict.statistics import KEPT

_LARGEST = 7.5  # beyond it, one minus the level is lost in rounding
_LEAST, _MOST = -80.0, 0.9  # logarithm of the smallest error that is looked for, and the largest error


class GroupSequential:
    """Lan and DeMets's test with spending like O'Brien and Fleming's, at (1 − level)/2 on either side.

    The critical values are those of a normal statistic. They are handed on as levels: a test with few degrees of freedom (few
    clusters) takes Student's quantile of the same probability: the boundary is widened as a single test is.

    What share of the information a look has is estimated at each look, by how much the items of each task change there. Errors
    that are spent by estimated shares stay as stated to a good approximation (Lan and Zucker, Statist. Med. 12, 1993), which
    `benchmarks/verdict/until_decided.py errors` holds against simulated studies.

    Futility is not binding: boundaries are computed as if nobody heeded it. It goes by the predictive probability (flat prior)
    that the last look decides either way (Spiegelhalter, Freedman and Blackburn, Control. Clin. Trials 7, 1986).
    """

    name: ClassVar[str] = "group-sequential"

    def __init__(self, information: Sequence[float], *, level: float = 0.95, futility: float = FUTILITY) -> None:
        self.information = tuple(information)
        self.futility = futility
        self.critical = _boundaries(self.information, (1 - level) / 2)

    @property
    def looks(self) -> int:
        """How many there are, at most."""
        return len(self.information)

    def level(self, look: int) -> float:
        """Two-sided confidence of the interval of a look."""
        return 1 - 2 * _tail(min(self.critical[look - 1], _LARGEST))

    def chance_to_decide(self, look: int, z: float) -> float:
        """Predictive probability that the last look is beyond its boundary on either side; 0 or 1 at the last."""
        share, last = self.information[look - 1], _quantile(KEPT * _tail(self.critical[-1]))
        if look == self.looks:
            return float(abs(z) >= last)
        drift, spread = z / math.sqrt(share), math.sqrt((1 - share) / share)
        return _tail((last - drift) / spread) + _tail((last + drift) / spread)

    def futile(self, look: int, z: float) -> bool:
        """Whether all items would hardly decide it."""
        return self.chance_to_decide(look, z) < self.futility

    def p_value(self, look: int, p: float) -> float:
        """The smallest error at which the test would have rejected at this look."""
        shares = self.information[:look]

        def excess(logarithm: float) -> float:
            critical = boundaries(shares, math.exp(logarithm), obrien_fleming_like)[-1]
            return math.log(_tail(min(critical, HIGHEST))) - math.log(least)

        least = max(p, _tail(HIGHEST - 0.01))
        most = math.log(_MOST)
        return math.exp(find_root(excess, _LEAST, most, tolerance=1e-4)) if excess(most) > 0 else 1.0


@lru_cache(maxsize=256)
def _boundaries(information: tuple[float, ...], error: float) -> tuple[float, ...]:
    return boundaries(information, error, obrien_fleming_like)


def _tail(z: float) -> float:
    """Probability that a normal statistic exceeds `z`."""
    from scipy.special import ndtr

    return float(ndtr(-z))


def _quantile(p: float) -> float:
    """The value that a normal statistic exceeds with probability `p`."""
    from scipy.special import ndtri

    return -float(ndtri(p))
