"""Whether a measured load keeps the latency limits (SLO) of its workload, by the interval of each limited percentile.

Predictions have limits on means instead, `prediction.model.solve.MeanLimits`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np

from whichbits.core.percentiles import order_interval
from whichbits.schema.workload import Limit
from whichbits.verdict.estimates import Estimate
from whichbits.verdict.speed import Load, average, finite, series, valid_only

Standing = Literal["kept", "missed", "open"]


def limits_of(load: Load, limits: Mapping[str, Limit], *, level: float) -> Standing:
    """Whether a load is shown to keep every limit, or to miss one; open where an interval holds its limit.

    The interval is that of the percentile over rounds. Where rounds have too few requests for the percentile, it is the
    distribution-free one of the requests of all valid rounds together. One round may show that a limit is missed, but not
    that it is kept: nothing says how much another round would differ.
    """
    standing: Standing = "kept"
    for name, limit in limits.items():
        low, high = _interval(load, f"{name}_s", limit.percentile, level)
        if low > limit.seconds:
            return "missed"
        if high is None or high > limit.seconds:
            standing = "open"
    return standing


def _interval(load: Load, metric: str, percentile: float, level: float) -> tuple[float, float | None]:
    """Lower and upper end of a percentile in seconds; no upper end where nothing bounds it."""
    rounds = valid_only(load.own)
    by_round = series(rounds, metric, percentile)
    if len(by_round) == len({(r.session, r.repeat) for r in rounds}):
        found = average(by_round, level=level)
        if isinstance(found, Estimate):
            return found.low, found.high
    pooled = finite(np.concatenate([r.requests[metric] for r in rounds])) if rounds else np.array([])
    low, high = order_interval(pooled.tolist(), percentile, level)
    return low, high if len({(r.session, r.repeat) for r in rounds}) > 1 else None
