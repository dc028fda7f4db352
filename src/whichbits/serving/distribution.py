"""Means and percentiles of a sample, with the percentiles it is too small for refused."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from whichbits.serving.workload import Frozen

PERCENTILES = (50.0, 90.0, 95.0, 99.0)


class Percentile(Frozen):
    """A percentile with its order-statistic interval."""

    value: float
    low: float
    high: float | None
    """None where the sample has no order statistic that bounds it."""


class Distribution(Frozen):
    """Of one latency over a rung's requests, in seconds."""

    n: int
    mean: float
    percentiles: Mapping[str, Percentile | None]
    """By '50', '90', '95', '99'; None where `n` is below `minimum_samples`."""


def minimum_samples(percentile: float, confidence: float = 0.99) -> int:
    """Smallest n whose maximum lies above the percentile with `confidence`: 1 − (percentile/100)^n ≥ confidence.

    The floor of MLPerf LoadGen's early stopping: 459 for p99, 90 for p95, 44 for p90, 7 for the median.
    """
    return math.ceil(math.log(1 - confidence) / math.log(percentile / 100))


def order_interval(values: Sequence[float], at: float, level: float = 0.95) -> tuple[float, float | None]:
    """Distribution-free interval of percentile `at` (0 < at < 100): order statistics l and u of `values` ≥ 0.

    l is the (1−level)/2 quantile of Binomial(n, at/100), u one more than its (1+level)/2 quantile: the number of values
    below the percentile has that distribution. Without such an l the bound is 0, without such a u it is None.
    """
    from scipy.stats import binom

    ordered = np.sort(np.asarray(values, dtype=np.float64))
    below, above = binom.ppf([(1 - level) / 2, (1 + level) / 2], len(ordered), at / 100).astype(int)
    low = float(ordered[below - 1]) if below > 0 else 0.0
    return low, float(ordered[above]) if above < len(ordered) else None


def percentile(values: Sequence[float], at: float) -> Percentile | None:
    """Percentile `at` of `values` (linear interpolation) with its 95 % interval; None for too small a sample."""
    if len(values) < minimum_samples(at):
        return None
    low, high = order_interval(values, at)
    return Percentile(value=float(np.percentile(values, at)), low=low, high=high)


def distribution(values: Sequence[float]) -> Distribution | None:
    """Mean and percentiles of `values`; None where there are none."""
    if not values:
        return None
    found = {f"{at:g}": percentile(values, at) for at in PERCENTILES}
    return Distribution(n=len(values), mean=float(np.mean(values)), percentiles=found)
