"""The load at which one candidate stops being the faster one and another begins, with its interval."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np

from whichbits.verdict.estimates import Estimate
from whichbits.verdict.findings import Findings
from whichbits.verdict.phases import Axis, Crossover
from whichbits.verdict.round_statistics import units_of
from whichbits.verdict.serving_options import speed_problem
from whichbits.verdict.speed import Load, Series, series, start_of, valid_only
from whichbits.verdict.statistics import FloatArray, t_quantile


@dataclass(frozen=True)
class Crossing:
    """A load with its interval, and whether the first of the two is the faster one below it."""

    load: Estimate
    first_below: bool


def crossing(loads: FloatArray, first: FloatArray, second: FloatArray, *, level: float = 0.95) -> Crossing | None:
    """Where the latencies of two candidates are equal.

    `loads` (loads,) ascend; `first` and `second` are latencies (rounds, loads) of the same rounds. None with one round, and
    unless one of the two is shown faster at the lowest load and the other at the highest. Between loads latencies are taken to
    be linear, as a step of a batch costs a fixed time and a time a request. The interval holds all loads at which the mean
    difference is not told from 0: |d(x)| ≤ t · s(x) / √rounds, of the differences interpolated round by round (Fieller).
    """
    rounds = len(first)
    if rounds < 2:
        return None
    speed = np.log(np.concatenate([first, second], axis=1)).mean(axis=1)
    differences = (first - second) / np.exp(speed - speed.mean())[:, None]
    mean, covariance = differences.mean(axis=0), np.atleast_2d(np.cov(differences, rowvar=False)) / rounds
    t = t_quantile(level, rounds - 1)
    told = np.abs(mean) > t * np.sqrt(np.diag(covariance))
    if not (told[0] and told[-1]) or mean[0] * mean[-1] > 0:
        return None
    places: list[float] = [float(load) for load, one in zip(loads, told, strict=True) if not one]
    zeros: list[float] = []
    for left, right in pairwise(range(len(loads))):
        width = float(loads[right] - loads[left])
        places += [float(loads[left]) + share * width for share in _ends(mean, covariance, left, right, t)]
        if mean[left] * mean[right] <= 0 and mean[left] != mean[right]:
            zeros.append(float(loads[left] + width * mean[left] / (mean[left] - mean[right])))
    value = float(np.mean(zeros))
    load = Estimate(value=value, low=min([value, *places]), high=max([value, *places]), level=level)
    return Crossing(load, first_below=bool(mean[0] < 0))


def _ends(mean: FloatArray, covariance: FloatArray, left: int, right: int, t: float) -> list[float]:
    """Shares of the way between two loads at which the difference is just told from 0: d² = t² · variance."""
    a, slope = float(mean[left]), float(mean[right] - mean[left])
    here, there, both = (float(covariance[i, j]) for i, j in ((left, left), (right, right), (left, right)))
    spread = here + there - 2 * both
    quadratic = (slope**2 - t**2 * spread, 2 * (a * slope - t**2 * (both - here)), a**2 - t**2 * here)
    return [float(root.real) for root in np.roots(quadratic) if abs(root.imag) < 1e-12 and 0 <= root.real <= 1]


def crossovers(findings: Findings, measured: Sequence[Load], *, level: float) -> Iterator[Crossover]:
    """Each two candidates whose order changes with the requests in flight, or with the rate of arrivals, of each workload."""
    axes: dict[tuple[str, str, Axis], list[Load]] = {}
    for load in measured:
        axis: Axis = "rate" if load.concurrency is None else "concurrency"
        if load.concurrency is not None or load.rate is not None:
            axes.setdefault((load.workload, load.deployment, axis), []).append(load)
    for (workload, deployment, axis), here in axes.items():
        names = [n for n in (findings.base, *findings.candidates) if speed_problem(findings, n, deployment) is None]
        for one, other in combinations(names, 2):
            sides = [{_at(load): load for load in here if load.candidate == name} for name in (one, other)]
            latencies = [{at: series(valid_only(load.own), "latency_s") for at, load in side.items()} for side in sides]
            shared = _shared(*latencies)
            if shared is None:
                continue
            loads, first, second = shared
            found = crossing(loads, first, second, level=level)
            if found is not None:
                below, above = (one, other) if found.first_below else (other, one)
                yield Crossover(
                    below=below,
                    above=above,
                    workload=workload,
                    deployment=deployment,
                    axis=axis,
                    load=found.load,
                    rounds=len(first),
                    steps=tuple(dict.fromkeys(key for side in sides for load in side.values() for key in load.steps)),
                )


def _at(load: Load) -> float:
    """Requests in flight, or arrivals per second."""
    at = load.rate if load.concurrency is None else load.concurrency
    assert at is not None
    return at


def _shared(one: Mapping[float, Series], other: Mapping[float, Series]) -> tuple[FloatArray, FloatArray, FloatArray] | None:
    """Loads (loads,) and both latencies (rounds, loads), in the rounds that are valid for both at every load."""
    loads = sorted(at for at in one if one[at] and other.get(at))
    if len(loads) < 2:
        return None
    rounds = sorted(frozenset.intersection(*(frozenset(side[at]) for side in (one, other) for at in loads)))
    if not rounds:
        return None
    units = units_of([tuple(start_of(key, side[loads[0]][key]) for side in (one, other)) for key in rounds])
    first, second = (np.array([[side[at][key].value for at in loads] for key in rounds]) for side in (one, other))
    first, second = (np.array([values[list(unit)].mean(axis=0) for unit in units]) for values in (first, second))
    return np.array(loads, dtype=np.float64), first, second
