"""The answer in a sentence or two, and its reasons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from whichbits.verdict.decision import bound_of
from whichbits.verdict.model import Decision, NoRecommendation, Recommendation
from whichbits.verdict.speed import SYNCHRONOUS
from whichbits.verdict.words import listing, percent, times

MOST_REASONS = 3
"""Different reasons for staying with the base that the sentence itself gives; more are left to the list below it."""


def sentence(
    base: str,
    decisions: Sequence[Decision],
    recommended: Sequence[Recommendation],
    refused: Sequence[NoRecommendation],
    margin: float,
) -> str:
    """The answer in one or two sentences; it names the uses that it is for where it is not for all."""
    if not recommended:
        return _without_speed(base, decisions, refused, margin)
    by_name = {decision.candidate: decision for decision in decisions}
    chosen = list(dict.fromkeys(entry.candidate for entry in recommended))
    uses = _uses([*recommended, *refused])
    if chosen == [base]:
        return _stay(base, recommended, uses, everywhere=not refused)
    parts = []
    for name in chosen:
        own = [entry for entry in recommended if entry.candidate == name]
        where = "" if len(chosen) == 1 and not refused else f" for {listing([uses[_place(entry)] for entry in own])}"
        parts.append(f"{name}{where}{_gain(base, by_name[name], own, uses)}")
    return f"Deploy {'; '.join(parts)}.{_open(refused, uses)}"


Place = tuple[str, str, str]


def _place(entry: Recommendation | NoRecommendation) -> Place:
    return entry.workload, entry.deployment, entry.mode


def _uses(entries: Sequence[Recommendation | NoRecommendation]) -> Mapping[Place, str]:
    """Each use in words; with its deployment where there are several."""
    several = len({entry.deployment for entry in entries}) > 1
    modes = {SYNCHRONOUS: "one request at a time"}
    return {
        _place(e): f"{e.workload}{f' on {e.deployment}' if several else ''} with {modes.get(e.mode, 'many requests at once')}"
        for e in entries
    }


def _stay(base: str, recommended: Sequence[Recommendation], uses: Mapping[Place, str], *, everywhere: bool) -> str:
    by_reason: dict[str, list[str]] = {}
    for entry in recommended:
        by_reason.setdefault(entry.reason, []).append(uses[_place(entry)])
    if len(by_reason) == 1 and everywhere:
        return f"Stay with {base}: {recommended[0].reason}."
    if len(by_reason) > MOST_REASONS:
        return (
            f"Stay with {base}: for no use is another format shown both non-inferior and faster; the reasons say why for each."
        )
    return f"Stay with {base} {'; '.join(f'for {listing(where)}: {reason}' for reason, where in by_reason.items())}."


def _open(refused: Sequence[NoRecommendation], uses: Mapping[Place, str]) -> str:
    if not refused:
        return ""
    return f" For {listing([uses[_place(entry)] for entry in refused])} nothing is recommended, for lack of a comparison."


def _gain(base: str, decision: Decision, own: Sequence[Recommendation], uses: Mapping[Place, str]) -> str:
    if decision.state == "base" or decision.suite is None:
        return ""
    kept = f": it keeps {percent(decision.suite.recovery)} of {base}'s score above chance"
    gains = [
        f"{times(entry.advantage)} the queries per dollar" + (f" for {uses[_place(entry)]}" if len(own) > 1 else "")
        for entry in own
        if entry.advantage is not None
    ]
    return f"{kept} and gives {listing(gains)}" if gains else kept


def _without_speed(base: str, decisions: Sequence[Decision], refused: Sequence[NoRecommendation], margin: float) -> str:
    non_inferior = [decision for decision in decisions if decision.state == "non-inferior"]
    if not any(decision.suite for decision in decisions):
        return f"No verdict: no format could be compared with {base} on any task."
    if not non_inferior:
        return f"Stay with {base}: no format is shown to keep {bound_of(margin):g} % of its score above chance."
    names = [f"{decision.candidate}{_emulated(decision)}" for decision in non_inferior]
    why = list(dict.fromkeys(entry.reason for entry in refused)) or [
        "no valid speed (within its workload's limits, where it has any) was measured"
    ]
    return (
        f"{listing(names)} {'is' if len(names) == 1 else 'are'} shown to keep {bound_of(margin):g} % of {base}'s score above "
        f"chance, but {'; '.join(why)}: nothing says what it saves."
    )


def _emulated(decision: Decision) -> str:
    return " (in emulation)" if decision.suite and decision.suite.provenance == "emulated" else ""


def reasons(
    decisions: Sequence[Decision], recommended: Sequence[Recommendation], refused: Sequence[NoRecommendation]
) -> tuple[str, ...]:
    """Why: each recommendation, each use that has none, what would overturn it, and each format's decision."""
    uses = _uses([*recommended, *refused])
    lines = [f"{uses[_place(entry)]}: {entry.reason}." for entry in recommended]
    lines += [f"{uses[_place(entry)]}: nothing is recommended: {entry.reason}." for entry in refused]
    lines += list(dict.fromkeys(f"{entry.would_win_if_accepted}." for entry in recommended if entry.would_win_if_accepted))
    for decision in decisions:
        if decision.state != "base":
            remedy = f"; needed to decide: {decision.needed_to_decide}" if decision.needed_to_decide else ""
            lines.append(f"{decision.candidate} is {decision.state}: {decision.reason}{remedy}.")
    return tuple(lines)
