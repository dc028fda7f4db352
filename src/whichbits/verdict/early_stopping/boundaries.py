"""Boundaries of a group-sequential test, by recursive numerical integration.

The statistic at each look is a sum of independent normal increments, one between two looks. The density of those that have not
crossed a boundary yet is carried from look to look (Armitage, McPherson and Rowe, J. R. Statist. Soc. A 132, 1969; Jennison and
Turnbull, "Group Sequential Methods", 2000, chapter 19), here at the nodes of a Gauss-Legendre rule.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise

import numpy as np

from whichbits.verdict.statistics import FloatArray

LOWEST = -7.0
"""Below it the statistic lies with probability 1e-12."""
HIGHEST = 8.0
"""A boundary beyond this is none."""
NODES = (64, 640)
"""Fewest and most nodes of a look; between, two for each standard deviation of the next step."""
LEAST_STEP = 0.001
"""Information that a look must add: with less, it is the look before over again."""
_TOLERANCE = 1e-10  # standard errors
_STEPS = 100


def boundaries(information: Sequence[float], error: float, spending: Callable[[float, float], float]) -> tuple[float, ...]:
    """Critical values, in standard errors, of one-sided tests at each look whose errors together are `error`.

    `information` are shares of all information, above 0, rising, 1 at most; by look k
    `spending(information[k], error)` is spent. Infinite where a look has nothing to spend. Raises ValueError for other
    shares.
    """
    if not information or information[0] <= 0 or information[-1] > 1 + 1e-9:
        raise ValueError(f"shares of information {tuple(information)} are not above 0 and at most 1")
    if any(after - before < LEAST_STEP for before, after in pairwise(information)):
        raise ValueError(f"shares of information {tuple(information)} rise by less than {LEAST_STEP}")
    found: list[float] = []
    spent = 0.0
    at: FloatArray | None = None
    mass = np.empty(0)
    before = 0.0
    for share, following in zip(information, (*information[1:], 2.0), strict=True):
        wanted = spending(share, error) - spent
        critical = _critical(wanted, at, mass, before, share)
        found.append(critical)
        if critical < math.inf:
            spent += wanted
        end = min(critical, HIGHEST)
        nodes, weights = _rule(2 * (end - LOWEST) * math.sqrt(share / (following - share)))
        points = LOWEST + (end - LOWEST) * (nodes + 1) / 2
        mass = _density(points, at, mass, before, share) * weights * (end - LOWEST) / 2
        at, before = points, share
    return tuple(found)


@cache
def _legendre(nodes: int) -> tuple[FloatArray, FloatArray]:
    return np.polynomial.legendre.leggauss(nodes)


def _rule(nodes: float) -> tuple[FloatArray, FloatArray]:
    """Nodes and weights, (nodes,), of a rule on −1 to 1 with about so many."""
    fewest, most = NODES
    return _legendre(min(most, max(fewest, 16 * math.ceil(nodes / 16))))


def _critical(wanted: float, at: FloatArray | None, mass: FloatArray, before: float, share: float) -> float:
    """The value that is first exceeded at this look with probability `wanted`.

    Newton's method on the logarithm of that probability. It is concave, and a single test's critical value is never below the
    one that is looked for: from there every step comes nearer.
    """
    from scipy.special import log_ndtr, ndtri

    if wanted <= 0:
        return math.inf
    value = min(HIGHEST, -float(ndtri(wanted)))
    if at is None:
        return value if value < HIGHEST else math.inf
    scale = 1 / math.sqrt(share - before)
    for step in range(_STEPS):
        away = (value * math.sqrt(share) - at * math.sqrt(before)) * scale
        tails = log_ndtr(-away)
        largest = float(tails.max())
        shares = mass * np.exp(tails - largest)
        exceeds = float(shares.sum())
        more = largest + math.log(exceeds) - math.log(wanted)
        if step == 0 and value == HIGHEST and more > 0:
            return math.inf
        slope = float(shares @ np.exp(-(away**2) / 2 - tails)) / exceeds * scale * math.sqrt(share / (2 * math.pi))
        less = -more / slope
        value -= less
        if less < _TOLERANCE:
            return value
    raise ArithmeticError(f"no critical value for an error of {wanted} at {share} of the information")


def _density(points: FloatArray, at: FloatArray | None, mass: FloatArray, before: float, share: float) -> FloatArray:
    """Density of the statistic at `points`, of those that have crossed no boundary yet."""
    if at is None:
        density: FloatArray = np.exp(-(points**2) / 2) / math.sqrt(2 * math.pi)
        return density
    step = math.sqrt(share - before)
    away = (points[:, None] * math.sqrt(share) - at * math.sqrt(before)) / step
    density = np.exp(-(away**2) / 2) @ mass * math.sqrt(share / (2 * math.pi)) / step
    return density
