"""Why a candidate is recommended for a use, or none is, and what its speeds lack, in words."""

from __future__ import annotations

from whichbits.verdict.reasons import AgainstBase, KernelNotProbed, OneRound, OtherWeights, RoundInvalid, SpeedReason
from whichbits.verdict.verdict import GuidelineRow, NoRecommendation, Recommendation, Verdict
from whichbits.verdict.words.decisions import needed_to_decide
from whichbits.verdict.words.numbers import at_load, listing, times


def recommendation_reason(entry: Recommendation, base: str) -> str:
    """Why a candidate, or the base, is recommended."""
    if entry.code == "base_without_rival":
        return "no other format is both shown non-inferior and validly measured on a native kernel"
    if entry.code == "base_outside_limits":
        found = f"{base} keeps the limits at no load; {entry.candidate} does{at_load(entry.load)} and is shown non-inferior"
        return found + _notes(entry)
    if entry.code == "base_below_target_rate":
        return f"{base} cannot serve the target rate; {entry.candidate} may, and is shown non-inferior{_notes(entry)}"
    assert entry.compared is not None, "every other reason rests on a comparison with the base"
    found = _against_base(entry.compared, base)
    if entry.code in ("fastest", "more_accurate_of_equals"):
        return f"{found} and is shown non-inferior{_notes(entry)}"
    if entry.code == "base_one_round":
        return f"{found}, so nothing can be claimed of it; measure three rounds or more"
    if entry.code == "base_faster":
        return f"{found}, and no non-inferior format is faster"
    more = ""
    if entry.rounds_needed is not None:
        more = f"; a study of {entry.rounds_needed} rounds would tell (80 % power, if gap and spread stay)"
    return f"{found}, so the comparison is inconclusive{more}"


def _against_base(found: AgainstBase, base: str) -> str:
    loads = at_load(found.load)
    if found.base_load != found.load:
        loads += f" (the base{at_load(found.base_load)})"
    return f"{found.candidate} gives {times(found.ratio)} {base}'s queries per dollar{loads}"


def _notes(entry: Recommendation) -> str:
    text = ""
    if entry.equals:
        text += f"; its speed cannot be told from that of {listing(entry.equals)}, and it keeps more of the base's score"
    if entry.not_shown_slower:
        text += f"; that it is faster than {listing(entry.not_shown_slower)} is not shown"
    return text


def no_recommendation_reason(entry: NoRecommendation, base: str) -> str:
    """Why nothing is recommended."""
    match entry.code:
        case "base_not_measured":
            return f"{base} was not measured, so there is nothing to compare with"
        case "base_not_valid":
            return f"no round of {base} is valid, so there is nothing to compare with"
        case "base_other_weights":
            return f"the server of {base} does not serve its weights, so there is nothing to compare with"
        case "limits_not_kept":
            return f"{base} keeps the limits at no load, and neither does a format that is shown non-inferior"
        case "target_rate_not_reached":
            return f"{base} cannot serve the target rate, and neither can a format that is shown non-inferior"
        case "limits_not_shown":
            return f"which loads of {base} and of {listing(entry.candidates)} keep the limits is not told"
        case "nothing_compared":
            return f"no load of {listing(entry.candidates)} is valid in a round in which one of {base} is"


def would_win(entry: Recommendation, verdict: Verdict) -> str | None:
    """Which inconclusive candidate would be recommended if it were shown non-inferior, and what that takes."""
    found = entry.would_win_if_accepted
    if found is None:
        return None
    remedy = next((needed_to_decide(each) for each in verdict.formats if each.candidate == found.candidate), None)
    takes = f"; that takes {remedy}" if remedy else ""
    name = found.candidate
    return f"{name} would win, with {times(found.ratio)} {entry.candidate}'s queries per dollar, if shown non-inferior{takes}"


def evidence(row: GuidelineRow, verdict: Verdict) -> str:
    """What a row of the guideline rests on, workload by workload."""
    entries = [
        entry
        for entry in verdict.recommendations
        if (entry.mode, entry.deployment, entry.candidate) == (row.mode, row.deployment, row.best)
    ]
    return "; ".join(f"{entry.workload}: {_evidence(entry, verdict.base)}" for entry in entries)


def _evidence(entry: Recommendation, base: str) -> str:
    if entry.advantage is None:
        return recommendation_reason(entry, base)
    return f"{times(entry.advantage)} the base's queries per dollar"


def speed_reason(reason: SpeedReason) -> str:
    """Why a speed is not valid, or what of it was left out."""
    match reason:
        case RoundInvalid():
            return f"round {reason.round}: {reason.reason or 'not valid'}"
        case OneRound():
            return "one round only: nothing says how much another would differ, so there is no interval"
        case OtherWeights():
            return f"the server of {reason.server} does not serve its weights"
        case KernelNotProbed():
            return "no probe says which kernel served it"
        case _:
            name = f" ({reason.kernel})" if reason.kernel else ""
            return f"served on a {reason.status} path{name}, not on a native kernel"
