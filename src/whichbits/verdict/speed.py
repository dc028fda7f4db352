"""Speed and cost findings: rounds of one sitting paired with the base's, never averaged with an invalid one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from whichbits.verdict.findings import Findings, Round
from whichbits.verdict.model import CostFinding, Estimate, SpeedFinding
from whichbits.verdict.statistics import RoundValue, log_interval, mean_of_requests, quantile_interval

SYNCHRONOUS = "synchronous"
RATES = ("requests_per_second", "output_tokens_per_second")
TIMES = ("latency_s", "ttft_s", "itl_s", "tpot_s")
PERCENTILES = (50.0, 95.0, 99.0)
Series = Mapping[tuple[str, str], RoundValue]
"""A metric by round, that is by (sitting, repeat)."""


@dataclass(frozen=True)
class Load:
    """A candidate at one load: all its rounds there and the base's rounds that each is paired with."""

    candidate: str
    workload: str
    deployment: str
    rung: str
    own: tuple[Round, ...]
    base: tuple[Round, ...]

    @property
    def usable(self) -> tuple[Round, ...]:
        """The rounds to average: the valid ones, or, where there is none, all (and the finding is invalid)."""
        return tuple(r for r in self.own if r.valid) or self.own

    @property
    def cells(self) -> tuple[str, ...]:
        """Keys of the cells behind it."""
        return tuple(dict.fromkeys(key for r in self.own for key in r.cells))

    def reasons(self) -> tuple[str, ...]:
        """Why rounds were left out."""
        invalid = [r for r in self.own if not r.valid]
        return tuple(f"round {r.repeat}: {reason}" for r in invalid for reason in (r.reasons or ("not valid",)))


def loads(findings: Findings) -> tuple[Load, ...]:
    """Every (candidate, workload, deployment, rung) that was measured, the base first."""
    keys = {(r.candidate, r.workload, r.deployment, r.rung): None for r in findings.rounds}
    order = {name: place for place, name in enumerate((findings.base, *findings.candidates))}
    formed = []
    for candidate, workload, deployment, rung in sorted(keys, key=lambda key: (order.get(key[0], len(order)), *key[1:])):
        here = [r for r in findings.rounds if (r.workload, r.deployment, r.rung) == (workload, deployment, rung)]
        own = [r for r in here if r.candidate == candidate]
        if candidate == findings.base:
            own, paired = _distinct(own), []
        else:
            paired = [r for r in here if r.candidate == findings.base and r.against == candidate]
        formed.append(Load(candidate, workload, deployment, rung, tuple(own), tuple(paired)))
    return tuple(formed)


def _distinct(rounds: Sequence[Round]) -> list[Round]:
    """The base's rounds, each once, though every candidate's cell of that round may hold a copy."""
    seen: dict[tuple[str, str, str], Round] = {}
    for r in rounds:
        seen.setdefault((r.sitting, r.repeat, str(sorted(r.metrics.items(), key=str))), r)
    return list(seen.values())


def series(rounds: Sequence[Round], metric: str, percentile: float | None = None) -> Series:
    """A metric by round; rounds without finished requests have none."""
    values: dict[tuple[str, str], RoundValue] = {}
    for r in rounds:
        latency = r.requests["latency_s"]
        if not len(latency):
            continue
        together = _in_flight(r)
        spread = mean_of_requests(latency, together).relative_error
        if metric in RATES:
            value = RoundValue(float(r.metrics[metric]), spread)
        else:
            sample = r.requests[metric]
            sample = sample[np.isfinite(sample)]
            if not len(sample):
                continue
            mean = mean_of_requests(sample, together)
            value = (
                mean if percentile is None else RoundValue(float(np.quantile(sample, percentile / 100)), mean.relative_error)
            )
        if value.value > 0:
            values[(r.sitting, r.repeat)] = value
    return values


def _in_flight(r: Round) -> float:
    """Requests in flight: as set, or where they arrive at a rate by Little's law, rate · latency."""
    if r.concurrency is not None:
        return float(r.concurrency)
    return max(1.0, float(r.metrics["requests_per_second"]) * float(r.requests["latency_s"].mean()))


def average(values: Series, *, level: float) -> Estimate | None:
    """Geometric mean over rounds."""
    if not values:
        return None
    logs, within = zip(*((math.log(v.value), v.relative_error) for v in values.values()), strict=True)
    value, low, high = log_interval(logs, within, level)
    return Estimate(value=value, low=low, high=high, level=level)


def ratio(numerator: Series, denominator: Series, *, level: float) -> Estimate | None:
    """Ratio of two metrics, paired round by round; None where no round holds both."""
    shared = [key for key in numerator if key in denominator]
    if not shared:
        return None
    logs = [math.log(numerator[key].value / denominator[key].value) for key in shared]
    within = [math.hypot(numerator[key].relative_error, denominator[key].relative_error) for key in shared]
    value, low, high = log_interval(logs, within, level)
    return Estimate(value=value, low=low, high=high, level=level)


def valid_only(rounds: Sequence[Round]) -> tuple[Round, ...]:
    """Rounds that may enter a figure."""
    return tuple(r for r in rounds if r.valid)


def speed_findings(load: Load, kernel_problem: str | None, *, level: float) -> list[SpeedFinding]:
    """All metrics of a candidate at one load."""
    found = []
    for metric in (*RATES, *TIMES):
        for percentile in (None,) if metric in RATES else (None, *PERCENTILES):
            finding = _speed_finding(load, metric, percentile, kernel_problem, level)
            if finding is not None:
                found.append(finding)
    return found


def _speed_finding(
    load: Load, metric: str, percentile: float | None, kernel_problem: str | None, level: float
) -> SpeedFinding | None:
    own = series(load.usable, metric, percentile)
    estimate = average(own, level=level)
    if estimate is None:
        return None
    reasons = list(load.reasons())
    if percentile is not None:
        pooled = np.concatenate([r.requests[metric] for r in load.usable])
        pooled = pooled[np.isfinite(pooled)]
        bounds = quantile_interval(pooled, percentile / 100, level)
        if bounds is None:
            return None  # too few requests to bound this percentile: no figure is better than one without doubt
        estimate = Estimate(value=bounds[0], low=bounds[1], high=bounds[2], level=level)
    valid = any(r.valid for r in load.own)
    if valid and len(own) == 1:
        reasons.append("one round only: the spread between rounds is unknown and the interval wide")
    if kernel_problem is not None:
        reasons.append(kernel_problem)
    return SpeedFinding(
        candidate=load.candidate,
        workload=load.workload,
        deployment=load.deployment,
        rung=load.rung,
        metric=metric,
        percentile=percentile,
        estimate=estimate,
        ratio=ratio(
            series(valid_only(load.own), metric, percentile), series(valid_only(load.base), metric, percentile), level=level
        ),
        valid=valid and kernel_problem is None,
        reasons=tuple(reasons),
        cells=load.cells,
    )


def queries(load: Load, *, paired_base: bool = False) -> Series:
    """Queries per second by round, valid rounds only: 1 / latency when alone, throughput otherwise."""
    rounds = valid_only(load.base if paired_base else load.own)
    if load.rung != SYNCHRONOUS:
        return series(rounds, "requests_per_second")
    return {key: RoundValue(1 / v.value, v.relative_error) for key, v in series(rounds, "latency_s").items()}


Slo = Mapping[str, Mapping[str, float] | None]
"""Limits: ttft, itl or latency → {"seconds", "percentile"}, or None."""


def meets(load: Load, slo: Slo) -> bool:
    """Whether the percentile of each limited metric, over the requests of all valid rounds, is within its limit."""
    rounds = valid_only(load.own)
    for name, limit in slo.items():
        if limit is None:
            continue
        pooled = np.concatenate([r.requests[f"{name}_s"] for r in rounds]) if rounds else np.array([])
        pooled = pooled[np.isfinite(pooled)]
        if not len(pooled) or float(np.quantile(pooled, limit["percentile"] / 100)) > limit["seconds"]:
            return False
    return True


def best_load(candidates: Sequence[Load], slo: Slo) -> Load | None:
    """The load with the highest throughput among those that are valid and within the SLO."""
    rated = [(average(queries(load), level=0.95), load) for load in candidates if meets(load, slo)]
    rated_valid = [(rate.value, place) for place, (rate, _) in enumerate(rated) if rate is not None]
    return rated[max(rated_valid)[1]][1] if rated_valid else None


def cost_finding(
    load: Load, base: Load | None, deployment: Mapping[str, object], kernel_problem: str | None, *, level: float
) -> CostFinding:
    """Queries per dollar of a candidate at its best load over the base at its own; in money where there is a price."""
    price = deployment.get("price_per_hour")
    source = deployment.get("price_source")
    per_second = average(queries(load), level=level)
    per_dollar = None
    if isinstance(price, int | float) and per_second is not None:
        scale = 3600 / float(price)
        per_dollar = Estimate(
            value=per_second.value * scale, low=per_second.low * scale, high=per_second.high * scale, level=level
        )
    # The base's best load may be another rung than the candidate's: both were measured in the same round.
    reduction = None if base is None else ratio(queries(load), queries(base), level=level)
    return CostFinding(
        candidate=load.candidate,
        workload=load.workload,
        deployment=load.deployment,
        mode="synchronous" if load.rung == SYNCHRONOUS else "asynchronous",
        rung=load.rung,
        cost_reduction=reduction,
        queries_per_dollar=per_dollar,
        price_per_hour=None if not isinstance(price, int | float) else float(price),
        price_source=None if source is None else str(source),
        valid=per_second is not None and kernel_problem is None,
        cells=load.cells,
    )
