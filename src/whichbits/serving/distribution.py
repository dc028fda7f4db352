"""Means and percentiles of a sample, with the percentiles it is too small for refused."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from whichbits.core.percentiles import minimum_samples, order_interval
from whichbits.schema.serve import Distribution, Percentile

PERCENTILES = (50.0, 90.0, 95.0, 99.0)


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
