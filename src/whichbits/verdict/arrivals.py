"""Loads whose requests arrive whatever the server does: whether a candidate keeps the limits there, and its latency."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from whichbits.verdict.findings import Findings
from whichbits.verdict.phases import ArrivalsFinding
from whichbits.verdict.serving_options import speed_problem
from whichbits.verdict.slo import limits_of
from whichbits.verdict.speed import Load, ratio, series, valid_only


def arrivals_findings(findings: Findings, measured: Sequence[Load], *, level: float) -> Iterator[ArrivalsFinding]:
    """For each candidate at each load of arrivals that was measured; `measured` are the `loads` of the findings."""
    for load in measured:
        if load.arrivals is None:
            continue
        valid = bool(valid_only(load.own))
        limits = findings.limits(load.workload)
        above, below = (series(valid_only(rounds), "latency_s") for rounds in (load.own, load.base))
        yield ArrivalsFinding(
            candidate=load.candidate,
            workload=load.workload,
            deployment=load.deployment,
            load_level=load.load_level,
            kind=load.arrivals,
            rate=load.rate,
            limits=limits_of(load, limits, level=level) if limits and valid else None,
            latency=ratio(above, below, level=level),
            valid=valid and speed_problem(findings, load.candidate, load.deployment) is None,
            steps=load.steps,
        )
