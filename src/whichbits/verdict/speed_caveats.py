"""What the reader must know of the speeds before trusting them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from whichbits.verdict.findings import Findings
from whichbits.verdict.serving_options import ServingOptions
from whichbits.verdict.speed import is_rate, loads, meets
from whichbits.verdict.words import listing


def speed_caveats(findings: Findings, all_options: Sequence[ServingOptions]) -> Iterator[str]:
    """Kernels that are unknown, rounds that were left out, comparisons that rest on few rounds or unequal loads, limits."""
    unknown = [name for name, kernel in findings.kernels.items() if kernel.status == "unknown"]
    if unknown and findings.rounds:
        yield f"{listing(unknown)}: served at an address given, so which kernels ran is not known."
    yield from dict.fromkeys(_invalid(findings))
    for place in all_options:
        where = f"{place.workload}, {place.mode}"
        for option in place.options:
            yield from (f"{where}: {note.text}." for note in option.cost.notes)
    for workload in dict.fromkeys(r.workload for r in findings.rounds):
        yield from _still_rising(workload, findings)
    yield from _limits(findings)


def _invalid(findings: Findings) -> Iterator[str]:
    for r in findings.rounds:
        if not r.valid:
            why = "; ".join(r.reasons) or "no reason given"
            yield f"Invalid and left out: {r.candidate}, {r.workload}, {r.rung}, round {r.repeat}: {why}."


def _still_rising(workload: str, findings: Findings) -> Iterator[str]:
    """Say where the highest throughput was at the end of the ladder."""
    ladders: dict[str, list[tuple[float, int]]] = {}
    for r in findings.rounds:
        rate = r.metrics["requests_per_second"]
        if r.workload == workload and r.valid and r.concurrency is not None and r.concurrency > 1 and is_rate(rate):
            ladders.setdefault(r.candidate, []).append((float(rate), r.concurrency))
    tops = {name: max(concurrency for _, concurrency in ladder) for name, ladder in ladders.items()}
    ends = [name for name, ladder in ladders.items() if max(ladder)[1] == tops[name]]
    if ends:
        yield f"{workload}: {listing(ends)} did best at the largest load measured, so a larger one may give more."


def _limits(findings: Findings) -> Iterator[str]:
    """Workloads whose limits nothing keeps, so that nothing is recommended for them."""
    measured = [load for load in loads(findings) if any(r.valid for r in load.own)]
    for workload, deployment in dict.fromkeys((load.workload, load.deployment) for load in measured):
        slo = findings.workloads.get(workload, {}).get("slo") or {}
        here = [load for load in measured if (load.workload, load.deployment) == (workload, deployment)]
        if slo and not any(meets(load, slo) for load in here):
            stated = [f"{name} p{limit['percentile']:g} ≤ {limit['seconds']:g} s" for name, limit in slo.items() if limit]
            yield f"{workload} on {deployment}: no load of any format keeps its limits ({', '.join(stated)})."
