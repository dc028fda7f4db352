"""Speed findings: every metric at every load, by rounds, paired with the base's, never averaged with an invalid round."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeGuard

import numpy as np

from whichbits.core.percentiles import minimum_samples
from whichbits.schema.metrics import ServingMetric
from whichbits.schema.serve import Arrivals
from whichbits.verdict.estimates import SYNCHRONOUS, Estimate, SingleRound, Timed
from whichbits.verdict.findings import Findings, Round
from whichbits.verdict.reasons import OneRound, RoundInvalid, SpeedProblem, SpeedReason
from whichbits.verdict.round_statistics import RoundValue, Units, geometric_mean, half_width, mean_of_requests, units_of
from whichbits.verdict.statistics import FloatArray
from whichbits.verdict.verdict import SpeedFinding

RoundKey = tuple[str, int]
"""A round: (session, repeat)."""
Series = Mapping[RoundKey, RoundValue]
"""A metric by round."""


@dataclass(frozen=True)
class Load:
    """A candidate at one load: all its rounds there and the base's rounds that each is paired with."""

    candidate: str
    workload: str
    deployment: str
    load_level: str
    concurrency: int | None
    """Requests in flight; None where they arrive at a rate."""
    own: tuple[Round, ...]
    base: tuple[Round, ...]
    metrics: tuple[ServingMetric, ...] = ()
    """What was measured."""
    arrivals: Arrivals | None = None
    """How requests arrive, where they are not kept in flight."""
    rate: float | None = None
    """Arrivals per second, where they come at one rate."""

    @property
    def usable(self) -> tuple[Round, ...]:
        """The rounds to average: the valid ones, or, where there is none, all (and the finding is invalid)."""
        return tuple(r for r in self.own if r.valid) or self.own

    @property
    def measured(self) -> frozenset[RoundKey]:
        """Rounds in which it was measured, valid or not."""
        return frozenset((r.session, r.repeat) for r in self.own)

    @property
    def steps(self) -> tuple[str, ...]:
        """Keys of the steps behind it."""
        return tuple(dict.fromkeys(key for r in self.own for key in r.steps))

    def reasons(self) -> tuple[RoundInvalid, ...]:
        """Why rounds were left out."""
        invalid = [r for r in self.own if not r.valid]
        return tuple(RoundInvalid(round=r.repeat + 1, reason=reason) for r in invalid for reason in (r.reasons or (None,)))


def loads(findings: Findings) -> tuple[Load, ...]:
    """Every (candidate, workload, deployment, load level) that was measured, the base first."""
    keys = {(r.candidate, r.workload, r.deployment, r.load_level): r for r in findings.rounds}
    order = {name: place for place, name in enumerate((findings.base, *findings.candidates))}
    formed = []
    for key in sorted(keys, key=lambda key: (order.get(key[0], len(order)), *key[1:])):
        candidate, workload, deployment, load_level = key
        here = [r for r in findings.rounds if (r.workload, r.deployment, r.load_level) == (workload, deployment, load_level)]
        own = [r for r in here if r.candidate == candidate]
        if candidate == findings.base:
            own, paired = _distinct(own), []
        else:
            paired = [r for r in here if r.candidate == findings.base and r.against == candidate]
        formed.append(
            Load(
                candidate,
                workload,
                deployment,
                load_level,
                keys[key].concurrency,
                tuple(own),
                tuple(paired),
                findings.metrics,
                keys[key].arrivals,
                keys[key].rate,
            )
        )
    return tuple(formed)


def _distinct(rounds: Sequence[Round]) -> list[Round]:
    """The base's rounds, each once, though every candidate's step of that round may hold a copy."""
    seen: dict[tuple[str, int, str], Round] = {}
    for r in rounds:
        seen.setdefault((r.session, r.repeat, r.metrics.model_dump_json()), r)
    return list(seen.values())


def series(rounds: Sequence[Round], metric: str, percentile: float | None = None) -> Series:
    """A metric by round; rounds that have none are left out, and several measurements in one round count as their mean."""
    found: dict[RoundKey, list[RoundValue]] = {}
    for r in rounds:
        value = _in_round(r, metric, percentile)
        if value is not None:
            found.setdefault((r.session, r.repeat), []).append(value)
    return {key: geometric_mean(values) for key, values in found.items()}


def _in_round(r: Round, metric: str, percentile: float | None) -> RoundValue | None:
    """A metric in one round, with the start of its server."""
    value = _measured(r, metric, percentile)
    return None if value is None else replace(value, server_started=r.server_started)


def _measured(r: Round, metric: str, percentile: float | None) -> RoundValue | None:
    """The error of a throughput is that of the latency, whose inverse it is (Little's law)."""
    if metric not in r.requests and metric not in r.throughputs:
        value = r.metrics.of(metric)
        return RoundValue(float(value)) if is_rate(value) else None
    sample = finite(r.requests["latency_s" if metric in r.throughputs else metric])
    if not len(sample) or sample.mean() <= 0:
        return None
    if percentile is not None:
        # Linear between the ranks, and unbiased in the median whatever the distribution (Hyndman and Fan's type 8).
        enough = len(sample) >= minimum_samples(percentile)
        return RoundValue(float(np.quantile(sample, percentile / 100, method="median_unbiased"))) if enough else None
    mean = mean_of_requests(sample, _in_flight(r))
    if metric not in r.throughputs:
        return mean
    rate = r.metrics.of(metric)
    return RoundValue(float(rate), mean.relative_error, mean.degrees) if is_rate(rate) else None


def is_rate(value: object) -> TypeGuard[float]:
    """Whether a value is a finite number above 0."""
    return isinstance(value, int | float) and math.isfinite(value) and value > 0


def _in_flight(r: Round) -> float:
    """Requests in flight: as set, or where they arrive at a rate by Little's law, rate · latency."""
    if r.concurrency is not None:
        return float(r.concurrency)
    rate = r.metrics.requests_per_second
    return max(1.0, rate * float(finite(r.requests["latency_s"]).mean())) if is_rate(rate) else 1.0


def finite(values: FloatArray) -> FloatArray:
    """The values that are numbers: a request of a single chunk has no gap between chunks."""
    kept: FloatArray = values[np.isfinite(values)]
    return kept


def timed(value: float, low: float, high: float, *, level: float) -> Timed:
    """Value and interval from logarithms; no interval where its ends are infinite, as they are with one round."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return SingleRound(value=math.exp(value))
    low, high = max(low, -700.0), min(high, 700.0)
    return Estimate(value=math.exp(value), low=math.exp(low), high=math.exp(high), level=level)


def _over_rounds(logs: Sequence[float], terms: Sequence[RoundValue], level: float) -> Timed:
    """The mean of `logs` (rounds,) with its interval; `terms` are all values behind them."""
    array = np.array(logs)
    variances = np.array([term.relative_error**2 for term in terms])
    mean, half = float(array.mean()), float(half_width(array, variances, np.array([term.degrees for term in terms]), level))
    return timed(mean, mean - half, mean + half, level=level)


def average(values: Series, *, level: float) -> Timed | None:
    """Geometric mean over rounds."""
    if not values:
        return None
    each = _by_unit(values, units_of([start_of(key, value) for key, value in values.items()]))
    return _over_rounds([math.log(v.value) for v in each], each, level)


def ratio(numerator: Series, denominator: Series, *, level: float) -> Timed | None:
    """Ratio of two metrics, paired round by round; None where no round holds both."""
    shared = [key for key in numerator if key in denominator]
    if not shared:
        return None
    sides = [{key: side[key] for key in shared} for side in (numerator, denominator)]
    units = units_of([tuple(start_of(key, side[key]) for side in sides) for key in shared])
    above, below = (_by_unit(side, units) for side in sides)
    logs = [math.log(one.value / other.value) for one, other in zip(above, below, strict=True)]
    return _over_rounds(logs, [*above, *below], level)


def start_of(key: RoundKey, value: RoundValue) -> float | str:
    """What tells the start of the server behind a round; where it is not known, its measurement session."""
    return key[0] if value.server_started is None else value.server_started


def _by_unit(values: Series, units: Units) -> list[RoundValue]:
    """The mean of the rounds of each unit."""
    each = list(values.values())
    return [geometric_mean([each[place] for place in unit]) for unit in units]


def valid_only(rounds: Sequence[Round]) -> tuple[Round, ...]:
    """Rounds that may enter a figure."""
    return tuple(r for r in rounds if r.valid)


def speed_findings(load: Load, problem: SpeedProblem | None, *, level: float) -> list[SpeedFinding]:
    """All metrics of a candidate at one load."""
    found = []
    for metric in load.metrics:
        for percentile in (None, *metric.percentiles):
            finding = _speed_finding(load, metric.key, percentile, problem, level)
            if finding is not None:
                found.append(finding)
    return found


def _speed_finding(
    load: Load, metric: str, percentile: float | None, problem: SpeedProblem | None, level: float
) -> SpeedFinding | None:
    own = series(load.usable, metric, percentile)
    estimate = average(own, level=level)
    if estimate is None:
        return None
    reasons: list[SpeedReason] = list(load.reasons())
    valid = any(r.valid for r in load.own)
    if valid and len(own) == 1:
        reasons.append(OneRound())
    if problem is not None:
        reasons.append(problem)
    above, below = (series(valid_only(rounds), metric, percentile) for rounds in (load.own, load.base))
    return SpeedFinding(
        candidate=load.candidate,
        workload=load.workload,
        deployment=load.deployment,
        load_level=load.load_level,
        metric=metric,
        percentile=percentile,
        estimate=estimate,
        ratio=ratio(above, below, level=level),
        rounds=len(above.keys() & below.keys()) if load.base else len(own),
        valid=valid and problem is None,
        reasons=tuple(reasons),
        steps=load.steps,
    )


def queries(load: Load) -> Series:
    """Queries per second by round, valid rounds only: 1 / latency when alone, throughput otherwise."""
    rounds = valid_only(load.own)
    if load.load_level != SYNCHRONOUS:
        return series(rounds, "requests_per_second")
    return {key: replace(v, value=1 / v.value) for key, v in series(rounds, "latency_s").items()}
