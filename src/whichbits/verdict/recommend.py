"""Which candidate to deploy for each workload: the cheapest of the admissible ones and the base."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from whichbits.verdict.findings import Findings
from whichbits.verdict.market import Market, Offer
from whichbits.verdict.model import Estimate, FormatVerdict, Recommendation
from whichbits.verdict.speed import SYNCHRONOUS, Load, queries, ratio
from whichbits.verdict.wording import listing, times


def recommendations(
    findings: Findings, offers: Market, rulings: Mapping[str, FormatVerdict], *, level: float
) -> Iterator[Recommendation]:
    """The answer for each workload, deployment and mode in which something valid was measured."""
    for (workload, deployment, mode), entries in offers.items():
        valid = [entry for entry in entries if entry.cost.valid]
        base = next((entry for entry in valid if entry.load.candidate == findings.base), None)
        eligible = [entry for entry in valid if _served(rulings.get(entry.load.candidate))]
        admissible = [entry for entry in eligible if rulings[entry.load.candidate].state == "admissible"]
        unresolved = [entry for entry in eligible if rulings[entry.load.candidate].state == "not resolved"]
        choice = _choose(base, admissible, rulings, level)
        if choice is None:
            continue
        chosen, reason, runner_up = choice
        advantage = chosen.cost.cost_reduction
        yield Recommendation(
            workload=workload,
            deployment=deployment,
            mode=mode,
            candidate=chosen.load.candidate,
            reason=reason,
            advantage=advantage,
            runner_up=runner_up,
            if_resolved=_if_resolved(chosen, unresolved, rulings, level),
        )


def _served(ruling: FormatVerdict | None) -> bool:
    """Whether what was scored is what was served: an emulated score vouches for no served checkpoint."""
    return ruling is not None and ruling.suite is not None and ruling.suite.provenance == "measured"


def advantage_over(one: Offer, other: Offer, *, level: float) -> Estimate | None:
    """Queries per second (and so per dollar of one deployment) of one offer over another's, paired round by round."""
    return ratio(queries(one.load), queries(other.load), level=level)


def _against_base(entry: Offer, base: Offer) -> str:
    reduction = entry.cost.cost_reduction
    shown = "an unpaired number of" if reduction is None else times(reduction)
    return f"{entry.load.candidate} gives {shown} {base.load.candidate}'s queries per dollar{_at(entry.load)}"


def _at(load: Load) -> str:
    return "" if load.rung == SYNCHRONOUS else f" at {load.rung}"


Choice = tuple[Offer, str, str | None]


def _choose(
    base: Offer | None, admissible: Sequence[Offer], rulings: Mapping[str, FormatVerdict], level: float
) -> Choice | None:
    """The offer to recommend, why, and the runner-up.

    The fastest admissible one, unless its gain over the base is not resolved: then the base. Where others cannot be told from
    the fastest, the one of them that keeps most of the base's score.
    """
    ranked = sorted(admissible, key=lambda entry: _speed(entry), reverse=True)
    if base is None:
        return _choose_without_base(ranked, rulings, level)
    if not ranked:
        return base, "no other format is both shown admissible and validly measured on a native kernel", None
    gaining = [e for e in ranked if e.cost.cost_reduction is not None and e.cost.cost_reduction.low > 1]
    best = ranked[0]
    if not gaining:
        reduction = best.cost.cost_reduction
        told = reduction is not None and reduction.high < 1
        why = "and no admissible format is faster" if told else "so the difference is not resolved"
        return base, f"{_against_base(best, base)}, {why}", best.load.candidate
    tied = _tied(gaining, level)
    chosen = max(tied, key=lambda entry: _recovery(entry, rulings))
    reason = f"{_against_base(chosen, base)} and is shown admissible"
    faster, slower = ([e for e in ranked if (_speed(e) > 1) is above] for above in (True, False))
    return chosen, reason + _tie_note(chosen, tied), _runner_up(chosen, [*faster, base, *slower])


def _choose_without_base(ranked: Sequence[Offer], rulings: Mapping[str, FormatVerdict], level: float) -> Choice | None:
    """Where the base has no valid load (none within the limits): the fastest admissible one."""
    if not ranked:
        return None
    tied = _tied(ranked, level)
    chosen = max(tied, key=lambda entry: _recovery(entry, rulings))
    reason = f"the base has no valid load to compare with; {chosen.load.candidate} is the fastest that is shown admissible"
    return chosen, reason + _tie_note(chosen, tied), _runner_up(chosen, ranked)


def _tied(ranked: Sequence[Offer], level: float) -> list[Offer]:
    """The fastest and those that cannot be told from it."""
    best, rest = ranked[0], ranked[1:]
    gaps = [(entry, advantage_over(best, entry, level=level)) for entry in rest]
    return [best, *(entry for entry, gap in gaps if gap is None or gap.low <= 1)]


def _tie_note(chosen: Offer, tied: Sequence[Offer]) -> str:
    others = [entry.load.candidate for entry in tied if entry is not chosen]
    if not others:
        return ""
    return f"; its speed cannot be told from that of {listing(others)}, and it keeps more of the base's score"


def _runner_up(chosen: Offer, ranked: Sequence[Offer]) -> str | None:
    return next((entry.load.candidate for entry in ranked if entry is not chosen), None)


def _speed(entry: Offer) -> float:
    """For ranking: queries over the base's, or where there is no base, queries per second."""
    if entry.cost.cost_reduction is not None:
        return entry.cost.cost_reduction.value
    values = [value.value for value in queries(entry.load).values()]
    return sum(values) / len(values)


def _recovery(entry: Offer, rulings: Mapping[str, FormatVerdict]) -> float:
    kept = rulings[entry.load.candidate].suite
    return kept.recovery.value if kept else 0.0


def _if_resolved(chosen: Offer, unresolved: Sequence[Offer], rulings: Mapping[str, FormatVerdict], level: float) -> str | None:
    """The fastest unresolved candidate that is faster than the recommended one beyond doubt."""
    winners = []
    for entry in unresolved:
        gain = advantage_over(entry, chosen, level=level)
        if gain is not None and gain.low > 1:
            winners.append((gain.value, entry.load.candidate, gain))
    if not winners:
        return None
    _, name, gain = max(winners, key=lambda winner: winner[:2])
    remedy = rulings[name].would_resolve
    takes = f"; that takes {remedy}" if remedy else ""
    return f"{name} would win, with {times(gain)} {chosen.load.candidate}'s queries per dollar, if shown admissible{takes}"
