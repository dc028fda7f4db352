"""Speed and cost findings: rounds of one sitting paired with the base's, never averaged with an invalid one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from whichbits.verdict.findings import Findings, Round
from whichbits.verdict.model import CostFinding, Estimate, SpeedFinding
from whichbits.verdict.statistics import FloatArray, RoundValue, log_interval, mean_of_requests, quantile_interval

SYNCHRONOUS = "synchronous"
RATES = ("requests_per_second", "output_tokens_per_second")
TIMES = ("latency_s", "ttft_s", "itl_s", "tpot_s")
PERCENTILES = (50.0, 95.0, 99.0)
"""Given for the times of whole requests; the gaps behind a percentile of ITL are not in the tables, only their means."""
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
    """A metric by round; rounds that have none are left out, and several measurements in one round count as their mean."""
    found: dict[tuple[str, str], list[RoundValue]] = {}
    for r in rounds:
        value = _in_round(r, metric, percentile)
        if value is not None:
            found.setdefault((r.sitting, r.repeat), []).append(value)
    return {key: _geometric_mean(values) for key, values in found.items()}


def _in_round(r: Round, metric: str, percentile: float | None) -> RoundValue | None:
    """A metric in one round; the error of a throughput is that of the latency, whose inverse it is (Little's law)."""
    sample = finite(r.requests["latency_s" if metric in RATES else metric])
    if not len(sample) or sample.mean() <= 0:
        return None
    mean = mean_of_requests(sample, _in_flight(r))
    if metric in RATES:
        rate = r.metrics[metric]
        return RoundValue(float(rate), mean.relative_error) if rate else None
    return mean if percentile is None else RoundValue(float(np.quantile(sample, percentile / 100)), mean.relative_error)


def _geometric_mean(values: Sequence[RoundValue]) -> RoundValue:
    error = math.sqrt(sum(v.relative_error**2 for v in values)) / len(values)
    return RoundValue(math.exp(sum(math.log(v.value) for v in values) / len(values)), error)


def _in_flight(r: Round) -> float:
    """Requests in flight: as set, or where they arrive at a rate by Little's law, rate · latency."""
    if r.concurrency is not None:
        return float(r.concurrency)
    return max(1.0, float(r.metrics["requests_per_second"] or 0.0) * float(finite(r.requests["latency_s"]).mean()))


def finite(values: FloatArray) -> FloatArray:
    """The values that are numbers."""
    kept: FloatArray = values[np.isfinite(values)]
    return kept


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
        for percentile in (None,) if metric in (*RATES, "itl_s") else (None, *PERCENTILES):
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
        pooled = finite(np.concatenate([r.requests[metric] for r in load.usable]))
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


def queries(load: Load) -> Series:
    """Queries per second by round, valid rounds only: 1 / latency when alone, throughput otherwise."""
    rounds = valid_only(load.own)
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
        pooled = finite(np.concatenate([r.requests[f"{name}_s"] for r in rounds])) if rounds else np.array([])
        if not len(pooled) or float(np.quantile(pooled, limit["percentile"] / 100)) > limit["seconds"]:
            return False
    return True


def best_load(candidates: Sequence[Load], slo: Slo) -> Load | None:
    """The load with the highest throughput among those that are valid and within the SLO."""
    rated = [(list(queries(load).values()), load) for load in candidates if meets(load, slo)]
    rates = [(_geometric_mean(values).value, load) for values, load in rated if values]
    return max(rates, key=lambda entry: entry[0])[1] if rates else None


def cost_finding(
    load: Load, base: Load | None, deployment: Mapping[str, object], kernel_problem: str | None, *, level: float
) -> CostFinding:
    """Queries per dollar of a candidate at its best load over the base at its own; in money where there is a price.

    `base` holds the base's rounds that were measured in the candidate's cells; they may be of another rung.
    """
    price = deployment.get("price_per_hour")
    source = deployment.get("price_source")
    per_second = average(queries(load), level=level)
    per_dollar = None
    if isinstance(price, int | float) and per_second is not None:
        scale = 3600 / float(price)
        per_dollar = Estimate(
            value=per_second.value * scale, low=per_second.low * scale, high=per_second.high * scale, level=level
        )
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
