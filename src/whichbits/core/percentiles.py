"""Percentiles of a sample: the fewest values that give one, and its distribution-free interval."""

from __future__ import annotations

import math
from collections.abc import Sequence


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
    ordered = sorted(values)
    below, above = (binomial_quantile(tail, len(ordered), at / 100) for tail in ((1 - level) / 2, (1 + level) / 2))
    low = float(ordered[below - 1]) if below > 0 else 0.0
    return low, float(ordered[above]) if above < len(ordered) else None


def binomial_quantile(probability: float, n: int, share: float) -> int:
    """Smallest k with P(X ≤ k) ≥ `probability` for X of Binomial(n, share), 0 < share < 1.

    As scipy's `binom.ppf`, which this package does without. What lies more than ten standard deviations below the mean is left
    out of the sum: it is less than a float can tell.
    """
    width = 10 * math.sqrt(n * share * (1 - share)) + 10
    first = max(0, math.floor(n * share - width))
    all_ways, yes, no = math.lgamma(n + 1), math.log(share), math.log1p(-share)
    total = 0.0
    for k in range(first, n + 1):
        total += math.exp(all_ways - math.lgamma(k + 1) - math.lgamma(n - k + 1) + k * yes + (n - k) * no)
        if total >= probability:
            return k
    return n
