"""What is on offer for each workload: every candidate at its best valid load, with its cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from whichbits.verdict.findings import Findings
from whichbits.verdict.model import CostFinding
from whichbits.verdict.speed import SYNCHRONOUS, Load, best_load, cost_finding, loads

Mode = Literal["synchronous", "asynchronous"]
MODES: tuple[Mode, ...] = ("synchronous", "asynchronous")


@dataclass(frozen=True)
class Offer:
    """A candidate at its best load for one workload and mode."""

    load: Load
    cost: CostFinding


Market = Mapping[tuple[str, str, Mode], Sequence[Offer]]
"""Offers by (workload, deployment, mode), the base's first where it has one."""


def kernel_problem(findings: Findings, candidate: str) -> str | None:
    """Why a candidate's speed must not enter a verdict, or None: only a native kernel's speed is the format's.

    At an address that the user gave the kernel cannot be known; its speed enters, with a caveat.
    """
    probe = findings.kernels.get(candidate)
    if probe is None:
        return None if candidate == findings.base else "no probe says which kernel served it"
    if probe.status in ("native", "unknown"):
        return None
    name = f" ({probe.kernel})" if probe.kernel else ""
    return f"served on a {probe.status} path{name}, not on a native kernel"


def market(findings: Findings, *, level: float) -> dict[tuple[str, str, Mode], list[Offer]]:
    """Every candidate's best valid load for each workload, deployment and mode.

    Synchronous: one request at a time. Asynchronous: the number of requests in flight with the highest throughput, or, where
    the workload has limits, the highest that keeps them.
    """
    offers: dict[tuple[str, str, Mode], list[Offer]] = {}
    measured = loads(findings)
    for workload, deployment in dict.fromkeys((load.workload, load.deployment) for load in measured):
        slo = findings.workloads.get(workload, {}).get("slo") or {}
        price = findings.deployments.get(deployment, {})
        for mode in MODES:
            here = [
                load
                for load in measured
                if (load.workload, load.deployment) == (workload, deployment)
                and (load.rung == SYNCHRONOUS) == (mode == "synchronous")
                and not load.rung.startswith("rate ")  # its throughput is that of the arrivals
            ]
            base = best_load([load for load in here if load.candidate == findings.base], slo)
            for candidate in dict.fromkeys(load.candidate for load in here):
                best = best_load([load for load in here if load.candidate == candidate], slo)
                if best is not None:
                    problem = kernel_problem(findings, candidate)
                    paired = None if base is None or candidate == findings.base else _measured_with(findings, base, candidate)
                    offer = Offer(best, cost_finding(best, paired, price, problem, level=level))
                    offers.setdefault((workload, deployment, mode), []).append(offer)
    return offers


def _measured_with(findings: Findings, base: Load, candidate: str) -> Load:
    """The base's load with only the rounds that stand in a candidate's own cells."""
    place = (base.workload, base.deployment, base.rung)
    rounds = [
        r
        for r in findings.rounds
        if r.candidate == findings.base and r.against == candidate and (r.workload, r.deployment, r.rung) == place
    ]
    return Load(base.candidate, *place, own=tuple(rounds), base=())
