"""The Bradley-Terry model of one model against one baseline, with style held equal or not, and bootstrap intervals.

log(p / (1 − p)) = strength + Σ coefficient · style difference, so that the win rate at equal style is 1 / (1 + e^−strength).
Without style it is the mean score by weight. Intervals resample questions, since the judgments of one question are not
independent. (arena-hard resamples judgments, and centres style differences over all models of its leaderboard: with one model
that would control for nothing.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

RESAMPLES = 1000
_RIDGE = 1e-6
"""Keeps the strength finite where one side wins every time; far below any other digit."""
_STEPS = 50


@dataclass(frozen=True)
class WinRate:
    """A win rate with its 95 % interval, from 0 to 1."""

    rate: float
    low: float
    high: float


def fit(features: Floats, scores: Floats, weights: Floats) -> Floats:
    """Coefficients, (k,), of the logistic regression of `scores`, from 0 to 1, (n,), on `features`, (n, k), by Newton."""
    found = np.zeros(features.shape[1])
    for _ in range(_STEPS):
        expected = 1 / (1 + np.exp(-np.clip(features @ found, -30, 30)))
        gradient = features.T @ (weights * (scores - expected)) - _RIDGE * found
        spread = weights * expected * (1 - expected)
        step = np.linalg.solve(features.T @ (spread[:, None] * features) + _RIDGE * np.eye(len(found)), gradient)
        found = np.clip(found + np.clip(step, -2, 2), -25, 25)
        if np.abs(step).max() < 1e-10:
            break
    return found


def win_rate(question: NDArray[np.intp], scores: Floats, weights: Floats, *, seed: int, style: Floats | None = None) -> WinRate:
    """Win rate over judgments, (n,), of the questions that they are numbered by, from 0; `style` (n, 4) is held equal.

    Raises ValueError where there is no judgment.
    """
    if not len(scores):
        raise ValueError("there is no judgment")
    features = np.ones((len(scores), 1))
    if style is not None:
        spread = style.std(axis=0)
        features = np.column_stack([features, style[:, spread > 0] / spread[spread > 0]])
    count = int(question.max()) + 1
    random = np.random.default_rng(seed)

    def rate(times: Floats) -> float:
        weighted = weights * times[question]
        if features.shape[1] == 1:
            return float(weighted @ scores / weighted.sum()) if weighted.any() else float("nan")
        return float(1 / (1 + np.exp(-fit(features, scores, weighted)[0])))

    drawn = [rate(np.bincount(random.integers(0, count, count), minlength=count).astype(np.float64)) for _ in range(RESAMPLES)]
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return WinRate(rate(np.ones(count)), float(low), float(high))
