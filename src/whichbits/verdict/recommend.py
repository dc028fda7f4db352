"""Which candidate to deploy for each workload: the fastest of the non-inferior ones and the base, if anything was compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from whichbits.verdict.comparison import Comparison, compare
from whichbits.verdict.estimates import Estimate, SingleRound
from whichbits.verdict.findings import Findings
from whichbits.verdict.non_inferiority import bound_of
from whichbits.verdict.reasons import AgainstBase, OtherWeights, WouldWin
from whichbits.verdict.serving_options import ServingOption, ServingOptions, speed_problem
from whichbits.verdict.verdict import (
    CapacityFinding,
    Decision,
    NoRecommendation,
    Recommendation,
    RecommendationCode,
    RefusalCode,
)

EQUAL = 0.03
"""Candidates whose speeds are not told apart and differ by less than this count as equally fast."""
Decisions = Mapping[str, Decision]


@dataclass(frozen=True)
class Choice:
    """The option to recommend, and why."""

    option: ServingOption
    code: RecommendationCode
    compared: AgainstBase | None = None
    equals: tuple[str, ...] = ()
    not_shown_slower: tuple[str, ...] = ()
    runner_up: str | None = None
    rounds_needed: int | None = None


def recommendations(
    findings: Findings,
    all_options: Sequence[ServingOptions],
    decisions: Decisions,
    capacities: Sequence[CapacityFinding],
    *,
    margin: float,
    level: float,
) -> tuple[tuple[Recommendation, ...], tuple[NoRecommendation, ...]]:
    """The answer for each workload, deployment and mode, or why there is none.

    For many requests at once, what is shown not to reach the target rate by its capacity is left out.
    """
    answers, refusals = [], []
    for place in all_options:
        below = _below_target(place, capacities)
        options = replace(place, options=tuple(one for one in place.options if one.candidate not in below - {findings.base}))
        found = _answer(findings, options, decisions, below, level)
        if isinstance(found, Choice):
            answers.append(
                Recommendation(
                    workload=options.workload,
                    deployment=options.deployment,
                    mode=options.mode,
                    candidate=found.option.candidate,
                    code=found.code,
                    load=found.option.cost.load_level,
                    compared=found.compared,
                    equals=found.equals,
                    not_shown_slower=found.not_shown_slower,
                    advantage=found.option.cost.cost_reduction,
                    runner_up=found.runner_up,
                    rounds_needed=found.rounds_needed,
                    would_win_if_accepted=_would_win_if_accepted(found.option, options, decisions, margin, level),
                )
            )
        else:
            code, names = found
            refusals.append(
                NoRecommendation(
                    workload=options.workload,
                    deployment=options.deployment,
                    mode=options.mode,
                    code=code,
                    candidates=names,
                )
            )
    return tuple(answers), tuple(refusals)


def _below_target(place: ServingOptions, capacities: Sequence[CapacityFinding]) -> frozenset[str]:
    """Candidates, the base among them, that cannot serve the target rate of a workload."""
    if place.mode == "synchronous":
        return frozenset()
    here = [one for one in capacities if (one.workload, one.deployment) == (place.workload, place.deployment)]
    return frozenset(one.candidate for one in here if one.reaches == "no")


def _answer(
    findings: Findings, place: ServingOptions, decisions: Decisions, below: frozenset[str], level: float
) -> Choice | tuple[RefusalCode, tuple[str, ...]]:
    """The choice, or why there is none and for which candidates."""
    base, standing = findings.base, place.standing.get(findings.base, "not_measured")
    if standing == "not_measured":
        return "base_not_measured", ()
    if standing == "not_valid":
        return "base_not_valid", ()
    if isinstance(speed_problem(findings, base, place.deployment), OtherWeights):
        return "base_other_weights", ()
    eligible = (name for name in findings.candidates if name not in below and _eligible(decisions.get(name)))
    able = [name for name in eligible if speed_problem(findings, name, place.deployment) is None]
    options = [option for option in place.options if option.candidate in able]
    if standing == "outside_limits":
        if not options:
            return "limits_not_kept", ()
        sure = [option for option in options if option.cost.load_level in option.profile.kept]
        if not sure:
            return "limits_not_shown", _all(options)
        return _without_base(sure, "base_outside_limits", place, decisions, level)
    if base in below:
        if not options:
            return "target_rate_not_reached", ()
        return _without_base(options, "base_below_target_rate", place, decisions, level)
    own = next(option for option in place.options if option.candidate == base)
    compared = [option for option in options if option.comparison is not None]
    if compared:
        return _with_base(own, compared, place, decisions, level)
    uncompared = tuple(name for name in able if place.standing[name] != "outside_limits")
    return ("nothing_compared", uncompared) if uncompared else Choice(own, "base_without_rival")


def _eligible(decision: Decision | None) -> bool:
    return _served(decision) and decision is not None and decision.state == "non-inferior"


def _served(decision: Decision | None) -> bool:
    """Whether what was scored is what was served: an emulated score vouches for no served checkpoint."""
    return decision is not None and decision.suite is not None and decision.suite.provenance == "measured"


def _faster(comparison: Comparison | None) -> bool:
    """Whether a comparison shows its first side to be the faster one; one round shows nothing."""
    return comparison is not None and isinstance(comparison.ratio, Estimate) and comparison.ratio.low > 1


def _with_base(
    base: ServingOption, options: Sequence[ServingOption], place: ServingOptions, decisions: Decisions, level: float
) -> Choice:
    """The fastest of the options that are shown faster than the base, or the base."""
    ranked = sorted(options, key=lambda option: option.speed, reverse=True)
    pairs = _pairs(ranked, place, level)
    gaining = [option for option in ranked if _faster(option.comparison)]
    # What is shown faster than one that gains, gains.
    gaining += [o for o in ranked if o not in gaining and any(_faster(pairs.get(_names(o, slow))) for slow in gaining)]
    if not gaining:
        return _keep(base, ranked[0])
    chosen, equals, untold = _fastest(gaining, ranked, pairs, decisions)
    faster, slower = ([option for option in ranked if (option.speed > 1) is above] for above in (True, False))
    return Choice(
        chosen,
        "more_accurate_of_equals" if equals else "fastest",
        _against_base(chosen),
        _all(equals),
        _all(untold),
        next((option.candidate for option in (*faster, base, *slower) if option is not chosen), None),
    )


def _without_base(
    options: Sequence[ServingOption], code: RecommendationCode, place: ServingOptions, decisions: Decisions, level: float
) -> Choice:
    """The fastest of the options, where the base is none: it keeps the limits at no load, or is below the target rate."""
    pairs = _pairs(options, place, level)
    wins = {o.candidate: sum(_ahead(pairs.get(_names(o, other))) for other in options if other is not o) for o in options}
    ranked = sorted(options, key=lambda option: wins[option.candidate], reverse=True)
    chosen, equals, untold = _fastest(ranked, ranked, pairs, decisions)
    runner_up = next((option.candidate for option in ranked if option is not chosen), None)
    return Choice(chosen, code, None, _all(equals), _all(untold), runner_up)


def _names(one: ServingOption, other: ServingOption) -> tuple[str, str]:
    return one.candidate, other.candidate


def _all(options: Sequence[ServingOption]) -> tuple[str, ...]:
    return tuple(option.candidate for option in options)


Pairs = Mapping[tuple[str, str], Comparison | None]


def _pairs(options: Sequence[ServingOption], place: ServingOptions, level: float) -> Pairs:
    """Every option over every other."""
    return {
        _names(one, other): compare(one.profile, other.profile, place.reference, level=level)
        for one in options
        for other in options
        if one is not other
    }


def _ahead(comparison: Comparison | None) -> bool:
    return comparison is not None and comparison.ratio.value > 1


def _fastest(
    able: Sequence[ServingOption], options: Sequence[ServingOption], pairs: Pairs, decisions: Decisions
) -> tuple[ServingOption, list[ServingOption], list[ServingOption]]:
    """Of `able`, the fastest first: the one to deploy, those as fast that it is preferred to, and those not told from it.

    Whatever is shown slower than another of the `options` is out. Of those that are equally fast (`EQUAL`) as the fastest of
    the rest, the one that keeps most of the base's score is deployed. Two that cannot be compared are not equal.
    """
    beaten = [one for one in able if any(_faster(pairs.get(_names(other, one))) for other in options)]
    left = [one for one in able if one not in beaten] or list(able[:1])
    first = left[0]
    gaps = {one.candidate: pairs.get(_names(first, one)) for one in left[1:]}
    equals = [first, *(one for one in left[1:] if (gap := gaps[one.candidate]) and gap.ratio.value <= 1 + EQUAL)]
    chosen = max(equals, key=lambda option: _recovery(option, decisions))
    return chosen, [one for one in equals if one is not chosen], [one for one in left if one not in equals]


def _keep(base: ServingOption, best: ServingOption) -> Choice:
    """The base, because nothing is shown to be faster."""
    compared = best.comparison
    assert compared is not None
    code: RecommendationCode = "base_inconclusive"
    if isinstance(compared.ratio, SingleRound):
        code = "base_one_round"
    elif compared.ratio.high < 1:
        code = "base_faster"
    needed = compared.rounds_needed if code == "base_inconclusive" and compared.ratio.value > 1 else None
    return Choice(base, code, _against_base(best), runner_up=best.candidate, rounds_needed=needed)


def _against_base(option: ServingOption) -> AgainstBase:
    compared = option.comparison
    assert compared is not None
    return AgainstBase(candidate=option.candidate, ratio=compared.ratio, load=compared.above, base_load=compared.below)


def _recovery(option: ServingOption, decisions: Decisions) -> float:
    kept = decisions[option.candidate].suite
    return kept.recovery.value if kept else 0.0


def _would_win_if_accepted(
    chosen: ServingOption, place: ServingOptions, decisions: Decisions, margin: float, level: float
) -> WouldWin | None:
    """The fastest inconclusive candidate that is shown faster than the recommended one, and may still turn out non-inferior.

    One whose recovery so far lies below the bound is not named: more items like these would show it inferior.
    """
    winners = []
    for option in place.options:
        decision = decisions.get(option.candidate)
        if decision is None or not _served(decision) or decision.state != "inconclusive" or not option.cost.valid:
            continue
        gain = compare(option.profile, chosen.profile, place.reference, level=level)
        if gain is not None and _faster(gain) and decision.suite and decision.suite.recovery.value >= bound_of(margin):
            winners.append((gain.ratio.value, option.candidate, gain.ratio))
    if not winners:
        return None
    _, name, ratio = max(winners, key=lambda winner: winner[:2])
    return WouldWin(candidate=name, ratio=ratio)
