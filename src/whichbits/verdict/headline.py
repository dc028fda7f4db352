"""The answer in a sentence or two, and its reasons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from whichbits.verdict.model import FormatVerdict, NoRecommendation, Recommendation
from whichbits.verdict.ruling import bound_of
from whichbits.verdict.speed import SYNCHRONOUS
from whichbits.verdict.wording import listing, percent, times

MOST_REASONS = 3
"""Different reasons for staying with the base that the sentence itself gives; more are left to the list below it."""


def sentence(
    base: str,
    rulings: Sequence[FormatVerdict],
    recommended: Sequence[Recommendation],
    refused: Sequence[NoRecommendation],
    margin: float,
) -> str:
    """The answer in one or two sentences; it names the uses that it is for where it is not for all."""
    if not recommended:
        return _without_speed(base, rulings, refused, margin)
    by_name = {ruling.candidate: ruling for ruling in rulings}
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
        return f"Stay with {base}: for no use is another format shown both admissible and faster; the reasons say why for each."
    return f"Stay with {base} {'; '.join(f'for {listing(where)}: {reason}' for reason, where in by_reason.items())}."


def _open(refused: Sequence[NoRecommendation], uses: Mapping[Place, str]) -> str:
    if not refused:
        return ""
    return f" For {listing([uses[_place(entry)] for entry in refused])} nothing is recommended, for lack of a comparison."


def _gain(base: str, ruling: FormatVerdict, own: Sequence[Recommendation], uses: Mapping[Place, str]) -> str:
    if ruling.state == "base" or ruling.suite is None:
        return ""
    kept = f": it keeps {percent(ruling.suite.recovery)} of {base}'s score above chance"
    gains = [
        f"{times(entry.advantage)} the queries per dollar" + (f" for {uses[_place(entry)]}" if len(own) > 1 else "")
        for entry in own
        if entry.advantage is not None
    ]
    return f"{kept} and gives {listing(gains)}" if gains else kept


def _without_speed(base: str, rulings: Sequence[FormatVerdict], refused: Sequence[NoRecommendation], margin: float) -> str:
    admissible = [ruling for ruling in rulings if ruling.state == "admissible"]
    if not any(ruling.suite for ruling in rulings):
        return f"No verdict: no format could be compared with {base} on any task."
    if not admissible:
        return f"Stay with {base}: no format is shown to keep {bound_of(margin):g} % of its score above chance."
    names = [f"{ruling.candidate}{_emulated(ruling)}" for ruling in admissible]
    why = list(dict.fromkeys(entry.reason for entry in refused)) or [
        "no valid speed (within its workload's limits, where it has any) was measured"
    ]
    return (
        f"{listing(names)} {'is' if len(names) == 1 else 'are'} shown to keep {bound_of(margin):g} % of {base}'s score above "
        f"chance, but {'; '.join(why)}: nothing says what it saves."
    )


def _emulated(ruling: FormatVerdict) -> str:
    return " (in emulation)" if ruling.suite and ruling.suite.provenance == "emulated" else ""


def reasons(
    rulings: Sequence[FormatVerdict], recommended: Sequence[Recommendation], refused: Sequence[NoRecommendation]
) -> tuple[str, ...]:
    """Why: each recommendation, each use that has none, what would overturn it, and each format's ruling."""
    uses = _uses([*recommended, *refused])
    lines = [f"{uses[_place(entry)]}: {entry.reason}." for entry in recommended]
    lines += [f"{uses[_place(entry)]}: nothing is recommended: {entry.reason}." for entry in refused]
    lines += list(dict.fromkeys(f"{entry.if_resolved}." for entry in recommended if entry.if_resolved))
    for ruling in rulings:
        if ruling.state != "base":
            remedy = f"; to resolve it: {ruling.would_resolve}" if ruling.would_resolve else ""
            lines.append(f"{ruling.candidate} is {ruling.state}: {ruling.reason}{remedy}.")
    return tuple(lines)
