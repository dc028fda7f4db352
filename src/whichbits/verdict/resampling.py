"""The bootstrap of ratios of sums over units (windows, prompts).

The spread of k resampled units is too small by √((k−1)/k), and k units deserve Student's quantile instead of the normal one:
deviations of the replicates are widened by both factors.
"""

from __future__ import annotations

import math

import numpy as np

from whichbits.verdict.estimates import Estimate
from whichbits.verdict.statistics import FloatArray, t_quantile, z_quantile

RESAMPLES = 10_000
_CHUNK = 2_000_000


def resample_sums(units: FloatArray, generator: np.random.Generator, resamples: int = RESAMPLES) -> FloatArray:
    """Sums over units (units, columns) drawn with replacement, (resamples, columns).

    Equal units are drawn together, so right/wrong scores cost next to nothing and the order of items does not matter.
    """
    rows, counts = np.unique(units, axis=0, return_counts=True)
    shares = counts / counts.sum()
    chunk = max(1, _CHUNK // len(rows))
    parts = [
        generator.multinomial(len(units), shares, size=min(chunk, resamples - start)) @ rows
        for start in range(0, resamples, chunk)
    ]
    return np.concatenate(parts)


def widening(units: int, level: float) -> float:
    """Factor on the deviations of replicates of `units` resampled units; near 1 where there are many."""
    return t_quantile(level, units - 1) / z_quantile(level) * math.sqrt(units / (units - 1))


def percentile_estimate(value: float, replicates: FloatArray, level: float) -> Estimate:
    """Percentile interval of replicates (resamples,), stretched where need be to hold the point estimate."""
    low, high = np.quantile(replicates, [(1 - level) / 2, (1 + level) / 2], method="inverted_cdf")
    return Estimate(value=value, low=min(float(low), value), high=max(float(high), value), level=level)


def ratio_of_sums(numerator: FloatArray, denominator: FloatArray, *, level: float = 0.95, seed: int = 0) -> Estimate:
    """Σ numerator / Σ denominator over at least two units (windows, prompts), both (units,), with a bootstrap over units.

    With a denominator of ones this is a mean.
    """
    value = float(numerator.sum() / denominator.sum())
    units = np.column_stack([numerator, denominator])
    sums = resample_sums(units, np.random.default_rng(seed))
    replicates = value + widening(len(units), level) * (sums[:, 0] / sums[:, 1] - value)
    return percentile_estimate(value, replicates, level)
