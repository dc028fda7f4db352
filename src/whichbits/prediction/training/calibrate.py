"""Coefficients moved by the user's own measurements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isfinite
from pathlib import Path

import numpy as np

from whichbits.core.errors import UserError
from whichbits.prediction.model.coefficients import Coefficients, parameters, shipped
from whichbits.prediction.model.tiers import quantiles, spread_of
from whichbits.prediction.query import read_rows
from whichbits.prediction.training.fit import device_parameters, errors, fit, lay_out
from whichbits.prediction.training.measurements import Measurement, measurements

INFLATION = 3.0
"""How much less sure the shipped coefficients are than their fit says: errors of one source are not independent."""
DEVICE_SPREAD = 0.15
"""How far (logarithm) one device's memory, compute and host speeds are expected from its class's."""


def calibrate_measurements(found: Sequence[Measurement], start: Coefficients | None = None) -> Coefficients:
    """Coefficients that fit `found`, held by the shipped ones (or `start`) as far as those are sure.

    Besides the common coefficients each measured device gets multipliers of its own for memory, compute and host time; so a
    device that was measured is predicted better, and so are, through the common ones, its neighbours.
    """
    base = start or shipped()
    own, own_spread = device_parameters(found, DEVICE_SPREAD)
    loosened = {
        name: min(INFLATION * spread, parameters()[name].spread) if name in parameters() else spread
        for name, spread in base.spreads.items()
    }
    held = replace(base, values={**own, **base.values}, spreads={**own_spread, **loosened})
    fitted = fit(found, held)
    if not all(isfinite(number) for number in (*fitted.values.values(), *fitted.spreads.values())):
        raise UserError("serving results: no coefficients fit them", remedy="check their units: seconds, and requests a second")
    return replace(fitted, interval_inflation={**base.interval_inflation, **_interval_inflation(found, fitted)})


def _interval_inflation(found: Sequence[Measurement], fitted: Coefficients) -> dict[str, float]:
    """How many times as far as the tier `interpolated` says the fit is off the measurements of each device, if more.

    The tiers' errors are those of GPUs with many measurements; a device that the model fits worse gets wider intervals.
    """
    if not fitted.errors:
        return {}
    off = np.abs(errors(lay_out(found, fitted.values), fitted.values))
    told = np.array([spread_of(fitted.errors, "interpolated", m.load, 0.0)[m.quantity][0] for m in found])
    devices = np.array([m.hardware.id for m in found])
    return {str(device): max(1.0, quantiles((off / told)[devices == device])[0]) for device in np.unique(devices)}


def calibrate(serving_results: Path | Sequence[Mapping[str, str]], start: Coefficients | None = None) -> Coefficients:
    """Coefficients moved by serving results: a CSV file, or its rows.

    Columns as for points (model, format, hardware, count, prompt_tokens, output_tokens, concurrency, optionally
    tensor_parallel and engine) and what was measured: any of latency_s, ttft_s, tpot_s (seconds, means) and qps.
    """
    rows = read_rows(serving_results) if isinstance(serving_results, Path) else list(serving_results)
    found = measurements(rows, str(serving_results) if isinstance(serving_results, Path) else "given")
    if not found:
        raise UserError("serving results: no measured value", remedy="fill one of latency_s, ttft_s, tpot_s, qps")
    return calibrate_measurements(found, start)
