"""Cross-validation: fits that leave out a model, a device, an architecture, or an engine on a device, judged on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations

import numpy as np

from whichbits.prediction.model.coefficients import Coefficients, priors
from whichbits.prediction.model.naive_roofline import naive
from whichbits.prediction.model.tiers import TIERS, quantiles, widened
from whichbits.prediction.model.work import Floats
from whichbits.prediction.training.fit import Case, fit, forgiven, lay_out, raw_errors
from whichbits.prediction.training.measurements import Measurement

FEWEST = 8
"""Errors below which a quantile says nothing."""


@dataclass(frozen=True)
class Fold:
    """What was left out, of which kind, and log(predicted / measured) of each measurement left out."""

    kind: str
    name: str
    cases: tuple[Case, ...]
    raw: Floats
    values: Coefficients

    @cached_property
    def errors(self) -> Floats:
        """The raw errors, zero within the rounding of a printed rate."""
        return forgiven(self.cases, self.raw)

    def select(self, load: str, quantity: str, source: str = "") -> Floats:
        """Errors of one load and quantity, of sources whose name starts with `source`."""
        chosen = [
            e
            for e, c in zip(self.errors, self.cases, strict=True)
            if c.measurement.load == load and c.measurement.quantity == quantity and c.measurement.source.startswith(source)
        ]
        return np.array(chosen)


def label(measurement: Measurement, kind: str) -> str:
    """The group of a measurement that a fold of this kind leaves out as one."""
    m = measurement
    return {
        "model": m.shape.id,
        "device": m.hardware.id,
        "architecture": m.hardware.architecture,
        "device and engine": f"{m.hardware.id} {m.engine.name}",
    }[kind]


def judge(kind: str, name: str, measurements: Sequence[Measurement], coefficients: Coefficients) -> Fold:
    """Errors of given coefficients on given measurements."""
    cases = lay_out(measurements, coefficients.values)
    return Fold(kind, name, tuple(cases), raw_errors(cases, coefficients.values), coefficients)


def leave_out(measurements: Sequence[Measurement], kind: str) -> list[Fold]:
    """One fold a group: fitted to all other groups of every source, judged on it."""
    folds = []
    for name in sorted({label(m, kind) for m in measurements}):
        rest = [m for m in measurements if label(m, kind) != name]
        left = [m for m in measurements if label(m, kind) == name]
        folds.append(judge(kind, name, left, fit(rest)))
    return folds


def in_sample(measurements: Sequence[Measurement], coefficients: Coefficients) -> Fold:
    """Errors of coefficients on what they were fitted to."""
    return judge("in sample", "all", measurements, coefficients)


def roofline_alone(measurements: Sequence[Measurement]) -> Fold:
    """Errors of the model before any measurement."""
    return judge("roofline alone", "all", measurements, priors())


def pooled(folds: Sequence[Fold], load: str, quantity: str, source: str = "") -> Floats:
    """Errors of all folds together."""
    return np.concatenate([fold.select(load, quantity, source) for fold in folds])


@dataclass(frozen=True)
class Pair:
    """Two formats of one model on one device under one load and shape; numbers of devices may differ.

    `measured` and `predicted` are logarithms of the first's value over the second's, `low` and `high` the bounds that the
    rounding of printed rates leaves to the measured one.
    """

    first: Measurement
    second: Measurement
    measured: float
    predicted: float
    low: float
    high: float

    @property
    def error(self) -> float:
        """Predicted over measured, zero within the rounding."""
        return 0.0 if self.low <= self.predicted <= self.high else self.predicted - self.measured


def pairs(folds: Sequence[Fold], load: str, source: str = "") -> list[Pair]:
    """Every two formats that were asked the same, at one load, in sources whose name starts with `source`."""
    found = []
    for fold in folds:
        rows = [
            (c.measurement, e)
            for c, e in zip(fold.cases, fold.raw.tolist(), strict=True)
            if c.measurement.load == load and c.measurement.source.startswith(source)
        ]
        for (a, error_a), (b, error_b) in combinations(rows, 2):
            if same_question(a, b) and a.kernel.format != b.kernel.format:
                measured = float(np.log(a.value / b.value))
                rounded = a.quantity == "qps"
                low = float(np.log(a.low / b.high)) if rounded else measured
                high = float(np.log(a.high / b.low)) if rounded else measured
                found.append(Pair(a, b, measured, measured + error_a - error_b, low, high))
    return found


def ratio_errors(folds: Sequence[Fold], load: str) -> Floats:
    """log of predicted over measured ratio of every two formats of one model on one device under one load and shape."""
    return np.array([pair.error for pair in pairs(folds, load)])


def ratio_errors_to_16_bit(folds: Sequence[Fold]) -> Floats:
    """The same of each format to BF16 alone, one request at a time and at the highest rate."""
    found = [pair for load in ("synchronous", "max") for pair in pairs(folds, load)]
    return np.array([pair.error for pair in found if "bf16" in (pair.first.kernel.format, pair.second.kernel.format)])


def same_question(a: Measurement, b: Measurement) -> bool:
    """Whether two measurements differ in format and number of devices at most."""
    return _question(a) == _question(b)


def _question(m: Measurement) -> tuple[object, ...]:
    return (m.source, m.shape.id, m.hardware.id, m.engine.name, m.prompt, m.output, m.concurrency, m.quantity)


def _roofline(seen: Fold) -> Fold:
    """The naive roofline's errors: how far the roofline is off where no measurement has chosen its coefficients.

    (Those of `roofline_alone` would flatter: its priors were chosen with measurements in view.)
    """
    named = np.array([case.measurement.quantity == "ttft_s" for case in seen.cases])
    return Fold("roofline", "all", seen.cases, np.where(named, seen.raw, naive(seen.cases)), seen.values)


def with_errors(coefficients: Coefficients, measurements: Sequence[Measurement], folds: Sequence[Fold]) -> Coefficients:
    """The coefficients with the quantiles of errors of each tier, from the folds that stand for it."""
    near = [in_sample(measurements, coefficients)]
    devices = [f for f in folds if f.kind == "device"]
    architectures = {label(m, "device"): label(m, "architecture") for m in measurements}
    related = [f for f in devices if sum(a == architectures[f.name] for a in architectures.values()) > 1]
    by_tier = {
        "measured": near,
        "interpolated": near,
        "calibrated": [f for f in folds if f.kind in ("model", "device and engine")],
        "same-architecture": related,
        "other-architecture": [f for f in folds if f.kind == "architecture"],
        "roofline-only": [_roofline(near[0])],
    }
    kinds = [("synchronous", "latency_s"), ("max", "qps"), ("loaded", "tpot_s"), ("loaded", "ttft_s")]

    def table(folds: Sequence[Fold]) -> dict[str, tuple[float, float]]:
        found = {f"{load}/{quantity}": pooled(folds, load, quantity) for load, quantity in kinds}
        return {key: quantiles(e) for key, e in found.items() if len(e) >= FEWEST}

    def ratios(folds: Sequence[Fold]) -> dict[str, tuple[float, float]]:
        found = {load: ratio_errors(folds, load) for load in ("synchronous", "max")}
        return {load: quantiles(e) for load, e in found.items() if len(e) >= FEWEST}

    tables = widened([table(by_tier[tier]) for tier in TIERS])
    nested: dict[str, dict[str, dict[str, tuple[float, float]]]] = {}
    for tier, entries in zip(TIERS, tables, strict=True):
        for key, bounds in sorted(entries.items()):
            load, quantity = key.split("/")
            nested.setdefault(tier, {}).setdefault(load, {})[quantity] = bounds
    ratio_tables = widened([ratios(by_tier[tier]) for tier in TIERS])
    return replace(coefficients, errors=nested, ratio_errors=dict(zip(TIERS, ratio_tables, strict=True)))
