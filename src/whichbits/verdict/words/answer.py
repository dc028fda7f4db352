"""The answer of a study in a sentence or two, and its reasons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from whichbits.verdict.estimates import SYNCHRONOUS
from whichbits.verdict.verdict import Decision, NoRecommendation, Recommendation, Verdict
from whichbits.verdict.words.crossovers import crossover, recommended_crossovers
from whichbits.verdict.words.decisions import decision_reason, needed_to_decide
from whichbits.verdict.words.numbers import listing, percent, times
from whichbits.verdict.words.recommendations import no_recommendation_reason, recommendation_reason, would_win


def sentence(verdict: Verdict) -> str:
    """The answer in one or two sentences; it names the uses that it is for where it is not for all."""
    recommended, base = verdict.recommendations, verdict.base
    if not recommended:
        return _without_speed(verdict)
    by_name = {decision.candidate: decision for decision in verdict.formats}
    chosen = list(dict.fromkeys(entry.candidate for entry in recommended))
    uses = _uses([*recommended, *verdict.not_recommended])
    if chosen == [base]:
        return _stay(verdict, uses)
    parts = []
    for name in chosen:
        own = [entry for entry in recommended if entry.candidate == name]
        everywhere = len(chosen) == 1 and not verdict.not_recommended
        where = "" if everywhere else f" for {listing([uses[_use(entry)] for entry in own])}"
        parts.append(f"{name}{where}{_gain(base, by_name[name], own, uses)}")
    return f"Deploy {'; '.join(parts)}.{_open(verdict.not_recommended, uses)}"


Use = tuple[str, str, str]


def _use(entry: Recommendation | NoRecommendation) -> Use:
    return entry.workload, entry.deployment, entry.mode


def _uses(entries: Sequence[Recommendation | NoRecommendation]) -> Mapping[Use, str]:
    """Each use in words; with its deployment where there are several."""
    several = len({entry.deployment for entry in entries}) > 1
    modes = {SYNCHRONOUS: "one request at a time"}
    return {
        _use(e): f"{e.workload}{f' on {e.deployment}' if several else ''} with {modes.get(e.mode, 'many requests at once')}"
        for e in entries
    }


def _stay(verdict: Verdict, uses: Mapping[Use, str]) -> str:
    base = verdict.base
    by_reason: dict[str, list[str]] = {}
    for entry in verdict.recommendations:
        by_reason.setdefault(recommendation_reason(entry, base), []).append(uses[_use(entry)])
    if len(by_reason) > 1:
        return f"Stay with {base}: for no use is another format shown both non-inferior and faster."
    ((reason, where),) = by_reason.items()
    only = f" for {listing(where)}" if verdict.not_recommended else ""
    return f"Stay with {base}{only}: {reason}."


def _open(refused: Sequence[NoRecommendation], uses: Mapping[Use, str]) -> str:
    if not refused:
        return ""
    return f" For {listing([uses[_use(entry)] for entry in refused])} nothing is recommended, for lack of a comparison."


def _gain(base: str, decision: Decision, own: Sequence[Recommendation], uses: Mapping[Use, str]) -> str:
    if decision.state == "base" or decision.suite is None:
        return ""
    kept = f": it keeps {percent(decision.suite.recovery)} of {base}'s score above chance"
    gains = [
        f"{times(entry.advantage)} the queries per dollar" + (f" for {uses[_use(entry)]}" if len(own) > 1 else "")
        for entry in own
        if entry.advantage is not None
    ]
    return f"{kept} and gives {listing(gains)}" if gains else kept


def _without_speed(verdict: Verdict) -> str:
    base, bound = verdict.base, 100 * (1 - verdict.margin)
    if not any(decision.suite for decision in verdict.formats):
        return f"No verdict: no format could be compared with {base} on any task."
    names = [f"{decision.candidate}{_emulated(decision)}" for decision in verdict.formats if decision.state == "non-inferior"]
    if not names:
        return f"Stay with {base}: no format is shown to keep {bound:g} % of its score above chance."
    why = list(dict.fromkeys(no_recommendation_reason(entry, base) for entry in verdict.not_recommended)) or [
        "no valid speed (within its workload's limits, where it has any) was measured"
    ]
    return (
        f"{listing(names)} {'is' if len(names) == 1 else 'are'} shown to keep {bound:g} % of {base}'s score above chance, but "
        f"{'; '.join(why)}: nothing says what it saves."
    )


def _emulated(decision: Decision) -> str:
    return " (in emulation)" if decision.suite and decision.suite.provenance == "emulated" else ""


def reasons(verdict: Verdict) -> tuple[str, ...]:
    """Why: each recommendation, each use that has none, what would overturn it, and each format's decision."""
    base, refused = verdict.base, verdict.not_recommended
    uses = _uses([*verdict.recommendations, *refused])
    lines = [f"{uses[_use(entry)]}: {recommendation_reason(entry, base)}." for entry in verdict.recommendations]
    lines += [f"{uses[_use(e)]}: nothing is recommended: {no_recommendation_reason(e, base)}." for e in refused]
    lines += [f"{found.workload}: {crossover(found)}." for found in recommended_crossovers(verdict)]
    lines += dict.fromkeys(f"{said}." for entry in verdict.recommendations if (said := would_win(entry, verdict)))
    for decision in verdict.formats:
        if decision.state != "base":
            needed = needed_to_decide(decision)
            remedy = f"; needed to decide: {needed}" if needed else ""
            lines.append(f"{decision.candidate} is {decision.state}: {decision_reason(decision, verdict.margin)}{remedy}.")
    return tuple(lines)
