"""The coefficients that ship with the package, from the published tables and, where there is one, a file of serving points."""

from __future__ import annotations

from pathlib import Path

from whichbits.prediction.model.coefficients import Coefficients
from whichbits.prediction.training.fit import fit
from whichbits.prediction.training.folds import Fold, leave_out, with_errors
from whichbits.prediction.training.measurements import Measurement, aiconfigurator, published

KINDS = ("model", "device", "architecture", "device and engine")
"""What is left out, in turn."""


def sources(serving_points: Path | None) -> list[Measurement]:
    """All measurements: the published tables, and AIConfigurator's serving points where a file of them is given."""
    return published() + (aiconfigurator(serving_points) if serving_points else [])


def train(measurements: list[Measurement]) -> tuple[Coefficients, list[Fold]]:
    """Coefficients with the errors of their tiers, and the folds these come from."""
    folds = [fold for kind in KINDS for fold in leave_out(measurements, kind)]
    return with_errors(fit(measurements), measurements, folds), folds
