"""Coefficients from measurements: a robust fit of logarithms, held by priors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from whichbits.prediction.model.coefficients import Coefficients, priors
from whichbits.prediction.model.forward_pass import Values
from whichbits.prediction.model.kernels import version_numbers
from whichbits.prediction.model.layout import layouts
from whichbits.prediction.model.serving import serve
from whichbits.prediction.model.work import Floats, Layout, Point, Work, columns
from whichbits.prediction.training.measurements import QUANTITIES, Measurement

SCALE = 0.05
"""Error (of the logarithm) that weighs one; beyond CORNER an error counts linearly instead of squared."""
CORNER = 0.08
WEIGHTS = {("synchronous", "latency_s"): 1.0, ("max", "qps"): 0.5, ("loaded", "tpot_s"): 0.33, ("loaded", "ttft_s"): 0.02}
"""Weight of a measurement by load and quantity: what a rate or a loaded server shows depends on more than the model knows."""
DEFAULT_WEIGHT = 0.2
ROUNDS = 3
"""Times that the layouts of the highest rates are chosen anew."""


@dataclass(frozen=True)
class Case:
    """A measurement with the layout that the model takes it to have run in."""

    measurement: Measurement
    layout: Layout

    @property
    def point(self) -> Point:
        """What the model is asked."""
        m = self.measurement
        return Point(m.shape, m.kernel, m.hardware, m.engine, self.layout, m.prompt, m.output, m.concurrency)


@dataclass(frozen=True)
class Batch:
    """Cases as columns: their distinct points, and where among them each case is."""

    cases: tuple[Case, ...]
    work: Work
    place: NDArray[np.intp]


def batch(cases: Sequence[Case]) -> Batch:
    """The cases as columns; a point of which several quantities were measured is there once."""
    points: dict[tuple[object, ...], tuple[int, Point]] = {}
    place = []
    for case in cases:
        m = case.measurement
        key = (m.shape.id, m.kernel, m.hardware.id, m.engine, case.layout, m.prompt, m.output, m.concurrency)
        place.append(points.setdefault(key, (len(points), case.point))[0])
    return Batch(tuple(cases), columns([point for _, point in points.values()]), np.array(place, dtype=np.intp))


def predicted(batch: Batch, values: Values) -> Floats:
    """What the model says of each case's quantity."""
    outcome = serve(batch.work, values)
    rate = np.where(np.isinf(batch.work.concurrency), outcome.window_rate, outcome.rate)
    table = {"latency_s": outcome.latency, "tpot_s": outcome.tpot, "ttft_s": outcome.ttft, "qps": rate}
    rows = np.stack([table[quantity] for quantity in QUANTITIES])
    which = np.array([QUANTITIES.index(case.measurement.quantity) for case in batch.cases], dtype=np.intp)
    result: Floats = rows[which, batch.place]
    return result


def _candidates(measurement: Measurement, values: Values) -> list[Layout]:
    m = measurement
    found = layouts(
        m.shape, m.kernel, m.hardware, m.count, m.tensor_parallel, values, length=m.prompt + m.output, at_most=m.load == "max"
    )
    # A measured deployment did run: where the memory model has no room for it, it is taken as one copy of the model.
    return found or [Layout(min(m.count, m.hardware.node), max(1, m.count // m.hardware.node))]


def lay_out(measurements: Sequence[Measurement], values: Values) -> list[Case]:
    """Each measurement with its layout: of several, the one with the highest rate."""
    options = [(place, layout) for place, m in enumerate(measurements) for layout in _candidates(m, values)]
    cases = [Case(measurements[place], layout) for place, layout in options]
    rates = serve(columns([case.point for case in cases]), values).window_rate
    best: dict[int, tuple[float, Case]] = {}
    for (place, _), rate, case in zip(options, rates, cases, strict=True):
        if place not in best or rate > best[place][0]:
            best[place] = (float(rate), case)
    return [best[place][1] for place in range(len(measurements))]


def raw_errors(cases: Sequence[Case], values: Values) -> Floats:
    """log(predicted / measured) of each case."""
    y = predicted(batch(cases), values)
    result: Floats = np.log(y / np.array([case.measurement.value for case in cases]))
    return result


def forgiven(cases: Sequence[Case], errors: Floats) -> Floats:
    """The errors, zero within the rounding of a printed rate."""
    low, high = (
        np.array([np.log(getattr(c.measurement, side) / c.measurement.value) for c in cases]) for side in ("low", "high")
    )
    rates = np.array([case.measurement.quantity == "qps" for case in cases])
    return np.where(rates & (errors >= low) & (errors <= high), 0.0, errors)


def errors(cases: Sequence[Case], values: Values) -> Floats:
    """log(predicted / measured) of each case; zero within the rounding of a printed rate."""
    return forgiven(cases, raw_errors(cases, values))


def device_parameters(measurements: Sequence[Measurement], spread: float = 0.1) -> tuple[dict[str, float], dict[str, float]]:
    """Multipliers of each measured device, all 1, and their spreads: what a user's own runs may say of one device alone."""
    names = [
        f"device.{d}.{what}" for d in sorted({m.hardware.id for m in measurements}) for what in ("memory", "compute", "host")
    ]
    return dict.fromkeys(names, 1.0), dict.fromkeys(names, spread)


def fit(measurements: Sequence[Measurement], start: Coefficients | None = None, *, rounds: int = ROUNDS) -> Coefficients:
    """Coefficients that fit the measurements, starting from `start` (by default the priors) and held by its spreads.

    Minimizes the sum of pseudo-Huber losses of the logarithmic errors and of the squared logarithmic departures of the
    coefficients in units of their spreads. Returns values with spreads from the curvature at the minimum.
    """
    from scipy.optimize import least_squares

    start = start or priors()
    names = list(start.values)
    centre = np.log([start.values[name] for name in names])
    spread = np.array([start.spreads[name] for name in names])
    used = list(measurements)
    weight = np.array([WEIGHTS.get((m.load, m.quantity), DEFAULT_WEIGHT) for m in used])
    low, high = (np.array([getattr(m, side) for m in used]) for side in ("low", "high"))
    measured = np.array([m.value for m in used])
    printed_rate = np.array([m.quantity == "qps" and m.high > m.low for m in used])

    def values_at(z: Floats) -> dict[str, float]:
        return dict(zip(names, np.exp(centre + z * spread).tolist(), strict=True))

    z = np.zeros(len(names))
    for _ in range(rounds):
        cases = lay_out(used, values_at(z))
        asked = batch(cases)

        def residuals(z: Floats, asked: Batch = asked) -> Floats:
            y = predicted(asked, values_at(z))
            error = np.where(printed_rate & (y >= low) & (y <= high), 0.0, np.log(y / measured))
            huber = np.sign(error) * np.sqrt(2 * (np.sqrt(1 + (error / CORNER) ** 2) - 1)) * CORNER / SCALE
            return np.concatenate([weight * huber, z])

        solution = least_squares(residuals, z, max_nfev=30)
        z = solution.x
    # Roots of the diagonal of (J'J)^-1 by singular values of J, whose squares cannot come out negative.
    _, singular, directions = np.linalg.svd(solution.jac, full_matrices=False)
    deviations = np.linalg.norm(directions.T / singular, axis=1)
    return replace(
        start,
        values=values_at(z),
        spreads=dict(zip(names, (spread * deviations).tolist(), strict=True)),
        support=tuple(sorted(set(start.support) | support(measurements))),
        sources={**start.sources, **_count(measurements)},
        releases=releases(measurements, start.releases),
    )


def support(measurements: Sequence[Measurement]) -> set[tuple[str, str, str, str]]:
    """What was measured together: shape, device, format, engine."""
    return {(m.shape.id, m.hardware.id, m.kernel.format, m.engine.generation) for m in measurements}


def releases(measurements: Sequence[Measurement], before: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Versions of each generation of an engine that were measured, among them those `before`, the oldest first."""
    found = {generation: set(versions) for generation, versions in before.items()}
    for measurement in measurements:
        found.setdefault(measurement.engine.generation, set()).add(measurement.engine.release)
    return {generation: tuple(sorted(versions, key=version_numbers)) for generation, versions in sorted(found.items())}


def _count(measurements: Sequence[Measurement]) -> Mapping[str, int]:
    return {source: sum(m.source == source for m in measurements) for source in sorted({m.source for m in measurements})}
