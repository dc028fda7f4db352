"""What the reader must know of the speeds before trusting them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import fmean

import numpy as np

from whichbits.verdict.caveat_codes import (
    BeyondClient,
    Caveat,
    InvalidRound,
    KernelsUnknown,
    LimitsNotKept,
    MeasuredOtherwise,
    OneStart,
    OutlyingRound,
    PromptsShared,
    Rounds,
    StatedLimit,
    StillRising,
)
from whichbits.verdict.findings import Findings
from whichbits.verdict.serving_options import ServingOptions
from whichbits.verdict.slo import limits_of
from whichbits.verdict.speed import Load, is_rate


def speed_caveats(
    findings: Findings, measured: Sequence[Load], all_options: Sequence[ServingOptions], *, level: float
) -> Iterator[Caveat]:
    """Kernels that are unknown, rounds that were left out, comparisons that rest on few rounds or unequal loads, limits.

    `measured` are the `loads` of the findings.
    """
    unknown = [name for name, kernel in findings.kernels.items() if kernel.status == "unknown"]
    unknown += [r.against for r in findings.rounds if r.deployment in findings.elsewhere]
    if unknown and findings.rounds:
        yield KernelsUnknown(candidates=tuple(dict.fromkeys(unknown)))
    yield from dict.fromkeys(_invalid(findings))
    yield from _outlying(findings)
    for options in all_options:
        for option in options.options:
            for note in option.cost.notes:
                yield Rounds(candidate=option.candidate, workload=options.workload, mode=options.mode, note=note)
    if of_one_start := tuple(_of_one_start(findings)):
        yield OneStart(workloads=of_one_start)
    yield from _beyond_client(findings)
    yield from _otherwise(findings)
    for workload in dict.fromkeys(r.workload for r in findings.rounds):
        yield from _shared(workload, findings)
        yield from _still_rising(workload, findings)
    yield from _limits(findings, measured, level)


def _of_one_start(findings: Findings) -> Iterator[str]:
    """Workloads with several valid rounds of a candidate, all of whose servers were started once, by what they say."""
    for workload in dict.fromkeys(r.workload for r in findings.rounds):
        valid = [r for r in findings.rounds if r.workload == workload and r.valid]
        started = {(r.candidate, r.deployment, r.server_started) for r in valid}
        servers = {(r.candidate, r.deployment) for r in valid}
        told = all(r.server_started is not None for r in valid)
        if told and len(started) == len(servers) and len({(r.session, r.repeat) for r in valid}) > 1:
            yield workload


def _beyond_client(findings: Findings) -> Iterator[BeyondClient]:
    """Each load that brought more than the client of its session can read, once."""
    shares: dict[tuple[str, str, str], float] = {}
    for r in findings.rounds:
        key = (r.candidate, r.workload, r.load_level)
        if r.client_share is not None and r.client_share > max(1.0, shares.get(key, 0.0)):
            shares[key] = r.client_share
    for (candidate, workload, load), share in shares.items():
        yield BeyondClient(candidate=candidate, workload=workload, load=load, share=share)


def _otherwise(findings: Findings) -> Iterator[MeasuredOtherwise]:
    """The servers that lack the same, together."""
    lacking: dict[tuple[str, ...], dict[str, None]] = {}
    found = [(r.candidate, r.abilities) for r in findings.rounds]
    found += [(r.candidate, r.batches.abilities) for r in findings.batch_rounds]
    for candidate, abilities in found:
        if abilities is not None and abilities.instead:
            lacking.setdefault(abilities.instead, {})[candidate] = None
    for instead, candidates in lacking.items():
        yield MeasuredOtherwise(candidates=tuple(candidates), instead=instead)


OUTLYING = 0.1
"""Least distance from the others' median that is told."""
OUTLYING_SPREADS = 4
"""Least distance in terms of the others' own largest distance from it."""


def _outlying(findings: Findings) -> Iterator[OutlyingRound]:
    """The round of each load that lies far from all others, which lie together: of three or more valid ones."""
    loads: dict[tuple[str, str, str, str], dict[tuple[str, int], float]] = {}
    for r in findings.rounds:
        rate = r.metrics.requests_per_second
        if r.valid and is_rate(rate):
            place = (r.candidate, r.workload, r.deployment, r.load_level)
            loads.setdefault(place, {})[r.session, r.repeat] = rate  # the base has its round with every candidate
    for (candidate, workload, _, load), rates in loads.items():
        for (session, repeat), rate in rates.items():
            others = np.array([other for key, other in rates.items() if key != (session, repeat)])
            if len(others) < 2:
                continue
            middle = float(np.median(others))
            spread = float(np.abs(others - middle).max())
            if abs(rate - middle) > max(OUTLYING * middle, OUTLYING_SPREADS * spread):
                yield OutlyingRound(candidate=candidate, workload=workload, load=load, round=repeat + 1, ratio=rate / middle)


def _invalid(findings: Findings) -> Iterator[InvalidRound]:
    for r in findings.rounds:
        if not r.valid:
            yield InvalidRound(
                candidate=r.candidate, workload=r.workload, load=r.load_level, round=r.repeat + 1, reasons=r.reasons
            )


def _shared(workload: str, findings: Findings) -> Iterator[PromptsShared]:
    """Say what a prefix cache had to do with the speeds, where prompts are alike on purpose."""
    shared = findings.workloads[workload].shared if workload in findings.workloads else 0.0
    if shared:
        rounds = [r for r in findings.rounds if r.workload == workload and r.valid]
        hits = {name: [r.cached for r in rounds if r.candidate == name and r.cached is not None] for name in findings.formats}
        cached = {name: fmean(found) for name, found in hits.items() if found}
        yield PromptsShared(workload=workload, shared=shared, cached=cached)


def _still_rising(workload: str, findings: Findings) -> Iterator[StillRising]:
    """Say where the highest throughput was at the end of the sweep."""
    sweeps: dict[str, list[tuple[float, int]]] = {}
    for r in findings.rounds:
        rate = r.metrics.requests_per_second
        if r.workload == workload and r.valid and r.concurrency is not None and r.concurrency > 1 and is_rate(rate):
            sweeps.setdefault(r.candidate, []).append((rate, r.concurrency))
    tops = {name: max(concurrency for _, concurrency in sweep) for name, sweep in sweeps.items()}
    ends = [name for name, sweep in sweeps.items() if max(sweep)[1] == tops[name]]
    if ends:
        yield StillRising(workload=workload, candidates=tuple(ends))


def _limits(findings: Findings, measured: Sequence[Load], level: float) -> Iterator[LimitsNotKept]:
    """Workloads whose limits nothing keeps, so that nothing is recommended for them."""
    valid = [load for load in measured if any(r.valid for r in load.own)]
    for workload, deployment in dict.fromkeys((load.workload, load.deployment) for load in valid):
        limits = findings.limits(workload)
        here = [load for load in valid if (load.workload, load.deployment) == (workload, deployment)]
        if limits and all(limits_of(load, limits, level=level) == "missed" for load in here):
            stated = tuple(
                StatedLimit(metric=name, seconds=limit.seconds, percentile=limit.percentile) for name, limit in limits.items()
            )
            yield LimitsNotKept(workload=workload, deployment=deployment, limits=stated)
