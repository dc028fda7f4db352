"""Serving options for each workload: every candidate at its best load, compared with the base, with its cost."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from whichbits.schema.deployment import Deployment
from whichbits.schema.workload import Limit
from whichbits.verdict.comparison import Comparison, Profile, compare, contending, rate, shared_loads, starts
from whichbits.verdict.estimates import SYNCHRONOUS, Mode
from whichbits.verdict.findings import Findings
from whichbits.verdict.reasons import (
    FewRounds,
    KernelNotNative,
    KernelNotProbed,
    LimitsNotShown,
    LoadsLeftOut,
    OtherWeights,
    RoundsLeftOut,
    RoundsNote,
    ServerStarts,
    SpeedProblem,
)
from whichbits.verdict.round_statistics import FEWEST_STARTS, starts_of
from whichbits.verdict.slo import limits_of
from whichbits.verdict.speed import Load, queries
from whichbits.verdict.verdict import CostFinding

MODES: tuple[Mode, ...] = ("synchronous", "asynchronous")
FEW = 3
"""Rounds below which a caveat says that the intervals are wide."""
Standing = Literal["measured", "not_measured", "not_valid", "outside_limits"]


@dataclass(frozen=True)
class ServingOption:
    """A candidate at its best load for one workload and mode, with its comparison with the base where there is one."""

    profile: Profile
    cost: CostFinding
    comparison: Comparison | None

    @property
    def candidate(self) -> str:
        """Its name."""
        return self.profile.candidate

    @property
    def speed(self) -> float:
        """Queries over the base's; only where it was compared."""
        return self.comparison.ratio.value if self.comparison else 0.0


@dataclass(frozen=True)
class ServingOptions:
    """All that was measured of one workload on one deployment in one mode.

    `standing` says for every candidate, the base among them, whether it can be compared, and if not, why.
    """

    workload: str
    deployment: str
    mode: Mode
    reference: Profile | None
    """The base at all its valid loads, within the limits or not: what candidates of different sessions are compared through."""
    options: tuple[ServingOption, ...]
    standing: Mapping[str, Standing]


def speed_problem(findings: Findings, candidate: str, deployment: str) -> SpeedProblem | None:
    """Why a candidate's speed must not enter a verdict, or None: only a native kernel's, on its own weights, is the format's.

    At an address that the user gave, and where another tool measured, the kernel cannot be known; its speed enters, with a
    caveat. Where the base's server does not serve the base, no candidate's speed can be compared.
    """
    if deployment in findings.elsewhere:
        return None
    others = findings.served_others
    if other := next((name for name in (candidate, findings.base) if name in others), None):
        return OtherWeights(server=other)
    probe = findings.kernels.get(candidate)
    if probe is None:
        return None if candidate == findings.base else KernelNotProbed()
    if probe.status in ("native", "unknown"):
        return None
    return KernelNotNative(status=probe.status, kernel=probe.kernel)


def serving_options(findings: Findings, measured: Sequence[Load], *, level: float) -> tuple[ServingOptions, ...]:
    """Every workload, deployment and mode in which anything was measured; `measured` are the `loads` of the findings.

    Synchronous: one request at a time. Asynchronous: the number of requests in flight with the highest throughput, or, where
    the workload has limits, the highest of the loads that are shown to keep them; where none is, of those that may. Arrivals at
    a fixed rate do not enter: their throughput is the arrivals'.
    """
    at_once = [load for load in measured if load.concurrency is not None]
    return tuple(
        _options(findings, workload, deployment, mode, here, level)
        for workload, deployment in dict.fromkeys((load.workload, load.deployment) for load in at_once)
        for mode in MODES
        if (here := [load for load in at_once if _belongs(load, workload, deployment, mode)])
    )


def _belongs(load: Load, workload: str, deployment: str, mode: Mode) -> bool:
    alone = load.load_level == SYNCHRONOUS
    return (load.workload, load.deployment) == (workload, deployment) and alone == (mode == "synchronous")


def _options(
    findings: Findings, workload: str, deployment: str, mode: Mode, here: Sequence[Load], level: float
) -> ServingOptions:
    limits = findings.limits(workload)
    grouped: dict[str, list[Load]] = {}
    for load in here:
        grouped.setdefault(load.candidate, []).append(load)
    profiles = {name: _profile(name, own, limits, level) for name, own in grouped.items()}
    standing = {name: _standing(profiles.get(name)) for name in dict.fromkeys((findings.base, *findings.candidates))}
    base = profiles.get(findings.base)
    within = [profiles[name] for name in grouped if standing.get(name) == "measured"]
    priced = findings.deployments.get(deployment)
    options = tuple(
        _option(profile, within, base if base in within else None, mode, grouped[profile.candidate], priced,
               speed_problem(findings, profile.candidate, deployment), level)
        for profile in within
    )  # fmt: skip
    reference = None if base is None or not base.series else replace(base, allowed=frozenset(base.series))
    return ServingOptions(workload, deployment, mode, reference, options, standing)


def _profile(name: str, own: Sequence[Load], limits: Mapping[str, Limit], level: float) -> Profile:
    found = {load.load_level: queries(load) for load in own}
    standing = {load.load_level: limits_of(load, limits, level=level) for load in own}
    kept, unclear = (
        frozenset(load_level for load_level in found if found[load_level] and standing[load_level] == state)
        for state in ("kept", "open")
    )
    return Profile(
        name,
        {load_level: values for load_level, values in found.items() if values},
        {load.load_level: load.measured for load in own},
        allowed=kept or unclear,
        kept=kept,
        possible=kept | unclear,
    )


def _standing(profile: Profile | None) -> Standing:
    if profile is None:
        return "not_measured"
    if not profile.series:
        return "not_valid"
    return "measured" if profile.allowed.intersection(profile.series) else "outside_limits"


def _option(
    profile: Profile,
    within: Sequence[Profile],
    base: Profile | None,
    mode: Mode,
    own: Sequence[Load],
    deployment: Deployment | None,
    problem: SpeedProblem | None,
    level: float,
) -> ServingOption:
    """Queries per dollar at the best load over the base's at its own; in money where there is a price."""
    compared = None if base is None or profile is base else compare(profile, base, None, level=level)
    others = [other for other in within if other is not profile and (profile is base or other is base)]
    per_second, best = rate(profile, others, compared.above if compared else None, level=level)
    price = deployment.price_per_hour if deployment else None
    load = next(load for load in own if load.load_level == best)
    rivals = _contending(profile, base, compared)
    cost = CostFinding(
        candidate=profile.candidate,
        workload=load.workload,
        deployment=load.deployment,
        mode=mode,
        load_level=best,
        base_load_level=None if compared is None else compared.below,
        cost_reduction=None if compared is None else compared.ratio,
        rounds=0 if compared is None else len(compared.shared.rounds),
        contending=tuple(sorted(one.concurrency for one in own if one.concurrency and one.load_level in rivals)),
        notes=() if compared is None or base is None else tuple(_notes(profile, base, compared, mode)),
        queries_per_dollar=per_second.scaled(3600 / price) if price is not None else None,
        price_per_hour=price,
        price_source=deployment.price_source if deployment else None,
        valid=problem is None,
        steps=load.steps,
    )
    return ServingOption(profile, cost, compared)


def _contending(profile: Profile, base: Profile | None, compared: Comparison | None) -> tuple[str, ...]:
    """Loads that may be the best of the candidate or of the base that it is compared with."""
    if compared is not None and base is not None:
        return contending((profile, base), compared.shared)
    alone = shared_loads((profile,))
    return () if alone is None else contending((profile,), alone)


def _notes(profile: Profile, base: Profile, compared: Comparison, mode: Mode) -> Iterator[RoundsNote]:
    """What to know of the rounds and loads behind a comparison."""
    shared = compared.shared
    rounds = len(shared.rounds)
    if rounds < shared.common:
        yield RoundsLeftOut(measured=shared.common, valid=rounds)
    if rounds < FEW:
        yield FewRounds(code="one_round" if rounds == 1 else "few_rounds", rounds=rounds)
    for side, load in ((profile, compared.above), (base, compared.below)):
        if load not in side.kept:
            yield LimitsNotShown(candidate=side.candidate, load=load)
    if (spread := _server_starts(profile, base, compared)) is not None:
        yield spread
    if mode == "synchronous":
        return
    unequal = tuple(sorted(profile.measured.keys() ^ base.measured.keys()))
    if unequal:
        yield LoadsLeftOut(code="loads_not_shared", loads=unequal, compared=shared.loads)
    both = profile.measured.keys() & base.measured.keys() & (profile.allowed | base.allowed)
    left = tuple(sorted(both - set(shared.loads)))
    if left:
        yield LoadsLeftOut(code="loads_left_out", loads=left, compared=shared.loads)


def _server_starts(profile: Profile, base: Profile, compared: Comparison) -> ServerStarts | None:
    """How the ratio differs from start to start of the servers, where rounds of one start tell it from the spread of rounds."""
    shared = compared.shared
    if not (compared.above in shared.loads and compared.below in shared.loads):
        return None
    found = starts_of(starts((profile, base), shared))
    several = [start for start in found if len(start) > 1]
    if len(found) < 2 or not several:
        return None
    above, below = (
        np.log([side.series[load][key].value for key in shared.rounds])
        for side, load in ((profile, compared.above), (base, compared.below))
    )
    logs = [(above - below)[list(start)] for start in found]
    squares = sum(float(np.square(one - one.mean()).sum()) for one in logs)
    return ServerStarts(
        rounds=len(shared.rounds),
        starts=len(found),
        between=float(np.std([one.mean() for one in logs], ddof=1)),
        within=math.sqrt(squares / (len(shared.rounds) - len(found))),
        counted="starts" if len(found) >= FEWEST_STARTS else "rounds",
    )
