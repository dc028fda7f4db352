"""How much of the error may have been spent when a share of the information is there."""

from __future__ import annotations

import math


def obrien_fleming_like(information: float, error: float) -> float:
    """Error spent at a share `information` (0 to 1) of all information: 2 − 2 Φ(z(1 − error/2) / √information).

    `error` is one-sided. Next to nothing is spent early, so that the last look is hardly wider than a single one would be.
    Lan and DeMets, "Discrete sequential boundaries for clinical trials", Biometrika 70 (1983).
    """
    from scipy.special import ndtr, ndtri

    if information <= 0:
        return 0.0
    return float(2 * ndtr(ndtri(error / 2) / math.sqrt(min(information, 1.0))))
