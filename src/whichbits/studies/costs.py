"""What serving each candidate of one or several studies costs: their rates and prices, with the candidates' own device counts.

Studies of one base model on other hardware, or with other numbers of devices, are given together: each candidate then serves
where it is cheapest, as in arXiv 2411.02355.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from whichbits.core.errors import UserError
from whichbits.cost.money import (
    Cheapest,
    Means,
    Replica,
    TokenPrices,
    break_even_price,
    cheapest_by_rate,
    means,
    payback,
    replicas,
    token_prices,
)
from whichbits.schema.workload import Workload
from whichbits.verdict.estimates import Estimate, Mode, SingleRound, Timed

if TYPE_CHECKING:
    from whichbits.schema.step import Record
    from whichbits.studies.store.manifest import StudyManifest
    from whichbits.verdict.verdict import CostFinding, Verdict

ONCE = ("quantize", "evaluate", "generate", "compare", "distribution")
"""Kinds of steps that a candidate needs once, before it is served."""
HOURS_A_MONTH = 730


@dataclass(frozen=True)
class Terms:
    """What costs are asked at."""

    rate: float | None = None
    """Queries a second to be served in all."""
    utilisation: float = 1.0
    """Share of a replica's highest rate that it is used at."""
    output_ratio: float = 4.0
    """How many times an output token costs what an input token does."""
    weights: Mapping[str, float] | None = None
    """Queries by workload."""


@dataclass(frozen=True)
class AtRate:
    """What serving all of a rate takes."""

    replicas: int
    used: float
    """Share of their highest rate."""
    usd_per_hour: float
    usd_per_month: float
    """Of 730 hours."""
    payback_hours: float | None
    """Until making and evaluating the checkpoint has paid; None where nothing is saved, or that cost is not known."""


@dataclass(frozen=True)
class CandidateCost:
    """One candidate on one workload in one mode, where it is cheapest."""

    candidate: str
    state: str
    """`base`, or the decision on its accuracy."""
    hardware: str
    devices: int
    usd_per_hour: float
    """Of a replica."""
    price: str
    """Where the price is from, and of when."""
    queries_per_second: float
    """Of a replica: synchronous 1 / latency, asynchronous the highest rate within the limits."""
    usd_per_query: Timed
    usd_per_million: TokenPrices
    cost_reduction: Timed | None
    """The base's dollars a query where it is cheapest itself, over these; without an interval where they are of two studies."""
    one_off_usd: float | None
    """Machine time of making and evaluating the checkpoint at the price of where it was made."""
    payback_queries: float | None
    at_rate: AtRate | None


@dataclass(frozen=True)
class PriceFlip:
    """The price at which the cheapest candidate is so no more."""

    candidate: str
    usd_per_hour: float
    """Of its replica, now."""
    runner_up: str
    flips_above: float | None
    """None where both are on the same devices, so that no price changes the order."""


@dataclass(frozen=True)
class WorkloadCost:
    """All candidates on one workload in one mode."""

    workload: str
    mode: Mode
    candidates: tuple[CandidateCost, ...]
    """The cheapest first."""
    by_rate: tuple[Cheapest, ...]
    """Of those that may be deployed: the cheapest at each rate, with whole replicas."""
    flip: PriceFlip | None


@dataclass(frozen=True)
class MeanReduction:
    """A candidate's cost reduction over all workloads of a mode."""

    candidate: str
    mode: Mode
    workloads: int
    means: Means


@dataclass(frozen=True)
class CostReport:
    """What serving costs."""

    terms: Terms
    workloads: tuple[WorkloadCost, ...]
    reductions: tuple[MeanReduction, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class JudgedStudy:
    """A study with its verdict and what its steps took."""

    manifest: StudyManifest
    verdict: Verdict
    records: tuple[Record, ...]

    @property
    def once(self) -> dict[str, float]:
        """Seconds of making and evaluating, by candidate."""
        found: dict[str, float] = {}
        for record in self.records:
            if record.kind in ONCE and record.state == "done" and record.provenance.seconds is not None:
                found[record.labels.candidate] = found.get(record.labels.candidate, 0.0) + record.provenance.all_seconds
        return found


def costs(studies: Sequence[JudgedStudy], terms: Terms) -> CostReport:
    """The costs of what was measured. Raises UserError where studies are of different bases, and where none has a price."""
    base = studies[0].verdict.base
    if other := next((each for each in studies if each.manifest.model != studies[0].manifest.model), None):
        raise UserError(
            f"store: {studies[0].manifest.study} is of {studies[0].manifest.model}, {other.manifest.study} of "
            f"{other.manifest.model}",
            remedy="give studies of one model, on different devices",
        )
    places = [
        (study, found)
        for study in studies
        for found in study.verdict.cost
        if found.queries_per_dollar is not None and found.valid
    ]
    if not places:
        raise UserError(
            "store: it has no speed with a price", remedy="measure workloads, and give a price, as in --price cpu=0.40"
        )
    keys = dict.fromkeys((found.workload, found.mode) for _, found in places)
    of_workloads = tuple(
        _workload(
            workload, mode, [each for each in places if (each[1].workload, each[1].mode) == (workload, mode)], base, terms
        )
        for workload, mode in keys
    )
    unknown = sorted((terms.weights or {}).keys() - {workload for workload, _ in keys})
    if unknown:
        raise UserError(
            f"weight: {unknown[0]} is no workload that was measured",
            remedy=f"choose from {', '.join(dict.fromkeys(workload for workload, _ in keys))}",
        )
    warnings = dict.fromkeys(
        warning for study in studies for entry in study.manifest.deployments.values() for warning in entry.warnings
    )
    return CostReport(terms, of_workloads, tuple(_reductions(of_workloads, terms)), tuple(warnings))


Place = tuple[JudgedStudy, "CostFinding"]


def _workload(workload: str, mode: Mode, places: Sequence[Place], base: str, terms: Terms) -> WorkloadCost:
    names = dict.fromkeys(found.candidate for _, found in places)
    best = {
        name: max((place for place in places if place[1].candidate == name), key=lambda place: _per_dollar(place[1]).value)
        for name in names
    }
    reference = best.get(base)
    found = sorted((_candidate(*place, reference, terms) for place in best.values()), key=lambda one: one.usd_per_query.value)
    able = [one for one in found if one.state in ("base", "non-inferior")]
    ways = [Replica(one.candidate, one.queries_per_second, one.usd_per_hour) for one in able]
    most = terms.rate or 4 * max((way.queries_per_second for way in ways), default=0.0)
    return WorkloadCost(
        workload, mode, tuple(found), cheapest_by_rate(ways, most, terms.utilisation) if ways else (), _flip(able)
    )


def _per_dollar(found: CostFinding) -> Timed:
    assert found.queries_per_dollar is not None
    return found.queries_per_dollar


def _candidate(study: JudgedStudy, found: CostFinding, reference: Place | None, terms: Terms) -> CandidateCost:
    deployment = study.manifest.deployments[found.deployment]
    price = found.price_per_hour
    assert price is not None
    per_query = _inverse(_per_dollar(found), terms.utilisation)
    per_second = _per_dollar(found).value * price / 3600
    lengths: Workload = study.manifest.workloads[found.workload]
    prompt, output = lengths.mean_prompt_tokens, lengths.mean_output_tokens
    seconds = study.once.get(found.candidate)
    one_off = None if seconds is None else seconds / 3600 * price
    base_per_query = None if reference is None else _inverse(_per_dollar(reference[1]), terms.utilisation).value
    is_base = found.candidate == study.verdict.base
    saved = None if one_off is None or base_per_query is None or is_base else payback(one_off, base_per_query, per_query.value)
    return CandidateCost(
        candidate=found.candidate,
        state=_state(study.verdict, found.candidate),
        hardware=deployment.hardware,
        devices=deployment.count,
        usd_per_hour=price,
        price=found.price_source or "",
        queries_per_second=per_second,
        usd_per_query=per_query,
        usd_per_million=token_prices(per_query.value, prompt, output, terms.output_ratio),
        cost_reduction=None if is_base else _reduction(study, found, reference),
        one_off_usd=None if is_base else one_off,
        payback_queries=saved,
        at_rate=None if terms.rate is None else _at_rate(terms.rate, per_second, price, terms, saved),
    )


def _state(verdict: Verdict, candidate: str) -> str:
    return next((decision.state for decision in verdict.formats if decision.candidate == candidate), "not decided")


def _inverse(per_dollar: Timed, utilisation: float) -> Timed:
    """Dollars a query, of queries a dollar at full use."""
    if isinstance(per_dollar, SingleRound):
        return SingleRound(value=1 / per_dollar.value / utilisation)
    value, low, high = (1 / part / utilisation for part in (per_dollar.value, per_dollar.high, per_dollar.low))
    return Estimate(value=value, low=low, high=high, level=per_dollar.level)


def _reduction(study: JudgedStudy, found: CostFinding, reference: Place | None) -> Timed | None:
    """Within a study its own ratio, which is paired; of two studies the ratio of their queries per dollar."""
    if reference is None:
        return None
    if reference[0] is study:
        return found.cost_reduction
    return SingleRound(value=_per_dollar(found).value / _per_dollar(reference[1]).value)


def _at_rate(rate: float, per_second: float, price: float, terms: Terms, payback_queries: float | None) -> AtRate:
    count = replicas(rate, per_second, terms.utilisation)
    hours = None if payback_queries is None else payback_queries / rate / 3600
    return AtRate(
        replicas=count,
        used=rate / (count * per_second),
        usd_per_hour=count * price,
        usd_per_month=count * price * HOURS_A_MONTH,
        payback_hours=hours,
    )


def _flip(able: Sequence[CandidateCost]) -> PriceFlip | None:
    """What the cheapest's price may rise to, those on other devices as they are."""
    if len(able) < 2:
        return None
    first, second = able[0], able[1]
    same = (first.hardware, first.devices) == (second.hardware, second.devices)
    at = None if same else break_even_price(first.usd_per_hour, first.queries_per_second, _full(second))
    return PriceFlip(first.candidate, first.usd_per_hour, second.candidate, at)


def _full(one: CandidateCost) -> float:
    """Dollars a query at full use."""
    return one.usd_per_hour / 3600 / one.queries_per_second


def _reductions(of_workloads: Sequence[WorkloadCost], terms: Terms) -> Iterator[MeanReduction]:
    for mode in dict.fromkeys(each.mode for each in of_workloads):
        here = [each for each in of_workloads if each.mode == mode]
        base = {each.workload: one.usd_per_query.value for each in here for one in each.candidates if one.state == "base"}
        for name in dict.fromkeys(one.candidate for each in here for one in each.candidates if one.cost_reduction is not None):
            ratios = {
                each.workload: one.cost_reduction.value
                for each in here
                for one in each.candidates
                if one.candidate == name and one.cost_reduction is not None
            }
            yield MeanReduction(name, mode, len(ratios), means(ratios, terms.weights, base))
