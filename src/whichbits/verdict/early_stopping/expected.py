"""How many items a study that stops early may expect to ask."""

from __future__ import annotations

import numpy as np

from whichbits.schema.early_stopping import EarlyStoppingPlan
from whichbits.verdict.early_stopping.methods import method_of

PATHS = 500


def expected_share(plan: EarlyStoppingPlan, *, level: float = 0.95) -> float:
    """Mean share of all items that a candidate uses whose recovery is the bound itself, by simulation of the looks.

    There nothing is to be decided, and futility alone ends it; a clear case ends earlier.
    """
    from scipy.special import ndtri

    method = method_of(plan, level=level)
    shares = np.array([look.information for look in plan.looks])
    steps = np.random.default_rng(0).normal(size=(PATHS, len(shares))) * np.sqrt(np.diff(shares, prepend=0.0))
    used = []
    for path in np.cumsum(steps, axis=1) / np.sqrt(shares):
        for look, z in enumerate(path, start=1):
            if look == len(shares) or abs(z) > ndtri((1 + method.level(look)) / 2) or method.futile(look, float(z)):
                used.append(plan.looks[look - 1].items / plan.looks[-1].items)
                break
    return float(np.mean(used))
