"""Figures of merit of the predictor: ratios, right choices, coverage of intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from whichbits.prediction.model.naive_roofline import naive
from whichbits.prediction.model.tiers import quantiles, tier
from whichbits.prediction.model.work import Floats
from whichbits.prediction.training.calibrate import calibrate_measurements
from whichbits.prediction.training.fit import Case, errors, lay_out
from whichbits.prediction.training.folds import Fold, pairs, same_question

WORTH_TELLING = {"synchronous": 0.05, "max": 0.10}
"""Relative difference above which a choice between formats counts."""
GIVEN, SEED = 5, 0


@dataclass(frozen=True)
class Choices:
    """Shares of choices that were right, and of how many: the model's, the naive roofline's, and of one format always."""

    count: int
    model: float
    roofline: float
    always: float


@dataclass(frozen=True)
class Coverage:
    """What nominal 80 % intervals held of left-out measurements, and their median full width (high / low)."""

    pooled: float
    worst: float
    worst_fold: str
    width: float


def _groups(rows: Sequence[tuple[Case, float, float]]) -> list[list[tuple[Case, float, float]]]:
    groups: list[list[tuple[Case, float, float]]] = []
    for row in rows:
        home = next((g for g in groups if same_question(g[0][0].measurement, row[0].measurement)), None)
        if home is None:
            groups.append([row])
        else:
            home.append(row)
    return groups


def _rows(folds: Sequence[Fold], load: str, source: str) -> list[tuple[Case, float, float]]:
    return [
        (case, error, base)
        for fold in folds
        for case, error, base in zip(fold.cases, fold.errors, naive(fold.cases), strict=True)
        if case.measurement.load == load and case.measurement.source.startswith(source)
    ]


def fastest_format(folds: Sequence[Fold], source: str = "") -> Choices:
    """How often the format with the lowest predicted latency is the fastest measured, or within 5 % of it.

    Counted where the two fastest or any others differ by more than 5 %; the constant answer is W4A16.
    """
    margin = WORTH_TELLING["synchronous"]
    right = []
    for group in _groups(_rows(folds, "synchronous", source)):
        measured = [case.measurement.value for case, _, _ in group]
        if len(group) < 2 or max(measured) <= min(measured) * (1 + margin):
            continue
        limit = min(measured) * (1 + margin)

        def chosen(score: list[float], measured: list[float] = measured) -> float:
            return measured[int(np.argmin(score))]

        model = chosen([m * np.exp(error) for m, (_, error, _) in zip(measured, group, strict=True)])
        base = chosen([m * np.exp(b) for m, (_, _, b) in zip(measured, group, strict=True)])
        always = chosen([0.0 if case.measurement.kernel.format == "w4a16-int" else 1.0 for case, _, _ in group])
        right.append([model <= limit, base <= limit, always <= limit])
    return Choices(len(right), *(float(share) for share in np.mean(right, axis=0)))


def better_rate(folds: Sequence[Fold], source: str = "") -> Choices:
    """How often the better of W8A8 and W4A16 is told, where their measured rates differ by more than 10 %; constant: W8A8.

    A predicted ratio within the rounding of the printed rates is right.
    """
    right = []
    baseline = [Fold(f.kind, f.name, f.cases, naive(f.cases), f.values) for f in folds]
    for pair, base in zip(pairs(folds, "max", source), pairs(baseline, "max", source), strict=True):
        formats = [m.kernel.format[:4] for m in (pair.first, pair.second)]
        if set(formats) != {"w8a8", "w4a1"} or abs(pair.measured) <= np.log(1 + WORTH_TELLING["max"]):
            continue
        truth = pair.measured > 0
        told = [(p.predicted > 0) == truth or p.low <= p.predicted <= p.high for p in (pair, base)]
        right.append([*told, (formats[0] == "w8a8") == truth])
    return Choices(len(right), *(float(share) for share in np.mean(right, axis=0)))


def coverage(folds: Sequence[Fold], load: str, quantity: str, source: str = "") -> Coverage:
    """What 80 % intervals from all other folds' errors hold of each fold.

    As in use, a measurement whose tier is roofline-only once its fold is left out (no server was measured with its format, say)
    gets the interval of the naive roofline.
    """
    held: dict[str, Floats] = {}
    widths: dict[str, Floats] = {}
    chosen = {f.name: [i for i, c in enumerate(f.cases) if _asked(c, load, quantity, source)] for f in folds}
    apart = {f.name: f.errors[chosen[f.name]] for f in folds}
    plain = {f.name: naive([f.cases[i] for i in chosen[f.name]]) for f in folds if chosen[f.name]}
    for fold in folds:
        if not chosen[fold.name]:
            continue
        near, _ = quantiles(np.concatenate([e for name, e in apart.items() if name != fold.name]))
        far, _ = quantiles(np.concatenate([e for name, e in plain.items() if name != fold.name]))
        measured = [fold.cases[i].measurement for i in chosen[fold.name]]
        tiers = [tier(fold.values, m.shape, m.hardware, m.kernel.format, m.engine) for m in measured]
        half = np.array([far if t == "roofline-only" and quantity != "ttft_s" else near for t in tiers])
        held[fold.name], widths[fold.name] = (np.abs(apart[fold.name]) <= half).astype(float), half
    worst = min(held, key=lambda name: float(held[name].mean()))
    spread = float(np.exp(2 * np.median(np.concatenate(list(widths.values())))))
    return Coverage(float(np.concatenate(list(held.values())).mean()), float(held[worst].mean()), worst, spread)


def _asked(case: Case, load: str, quantity: str, source: str) -> bool:
    m = case.measurement
    return m.load == load and m.quantity == quantity and m.source.startswith(source)


def calibrated(fold: Fold, load: str, quantity: str) -> tuple[float, float]:
    """Median |error| on a left-out fold before and after calibrating with GIVEN of its measurements, on the others."""
    chosen = [c.measurement for c in fold.cases if c.measurement.load == load and c.measurement.quantity == quantity]
    order = np.random.default_rng(SEED).permutation(len(chosen))
    given, rest = [chosen[i] for i in order[:GIVEN]], [chosen[i] for i in order[GIVEN:]]
    after = calibrate_measurements(given, fold.values)
    before = errors(lay_out(rest, fold.values.values), fold.values.values)
    return float(np.median(np.abs(before))), float(np.median(np.abs(errors(lay_out(rest, after.values), after.values))))
