"""The decision on each format: non-inferior, inferior, inconclusive, or failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from whichbits.verdict.accuracy import Suite, near_chance, too_few
from whichbits.verdict.findings import Findings, ScoredTask
from whichbits.verdict.reasons import (
    BaseFailed,
    Bounded,
    DecisionReason,
    IsBase,
    NotScored,
    OtherArithmetic,
    OtherWeights,
    StepsFailed,
    TaskMissing,
)
from whichbits.verdict.sample_size import extension, undecidable
from whichbits.verdict.statistics import holm
from whichbits.verdict.verdict import Decision, State


def bound_of(margin: float) -> float:
    """Recovery, %, that a format must be shown to reach."""
    return 100 * (1 - margin)


def gaps(findings: Findings, candidate: str, engine: str) -> tuple[str, ...]:
    """Tasks that the suite of a candidate lacks because its own or the base's run is not there, failed or never planned.

    A study's tasks are all that any candidate was scored on, in any engine, and all whose runs are missing.
    """
    scored = {entry.task for entry in findings.tasks if (entry.candidate, entry.engine) == (candidate, engine)}
    of_study = [entry.task for entry in findings.tasks]
    of_study += [task for tasks in findings.incomplete.values() for task in tasks]
    return tuple(task for task in dict.fromkeys(of_study) if task not in scored)


def served(findings: Findings, candidate: str) -> bool:
    """Whether any task of a candidate was scored as it is served."""
    return any(entry.candidate == candidate and entry.provenance == "measured" for entry in findings.tasks)


def deciding_suite(findings: Findings, candidate: str, suites: Sequence[Suite]) -> Suite | None:
    """The suite that decides: whatever was served rather than emulated; of several engines, the first complete one."""
    own = [entry for entry in suites if entry.finding.candidate == candidate]
    if served(findings, candidate):
        own = [entry for entry in own if entry.finding.provenance == "measured"]
    complete = [entry for entry in own if not gaps(findings, candidate, entry.finding.engine)]
    return next(iter(complete or own), None)


def decision_on(findings: Findings, candidate: str, suites: Sequence[Suite], *, margin: float, level: float) -> Decision:
    """Decide on one candidate by the interval of its suite's recovery, and by what clusters that were not seen could change.

    Non-inferior: the interval lies at or above 100 · (1 − margin), a one-sided non-inferiority test at (1 − level)/2, and so
    does the recovery less `unseen_loss`. Inferior: interval and recovery plus `unseen_gain` lie below. Else, or where a task
    of the suite is missing, inconclusive.
    """
    format_name = findings.formats.get(candidate, candidate)
    if candidate == findings.base:
        return Decision(candidate=candidate, format=format_name, state="base", reason=IsBase())
    entry = deciding_suite(findings, candidate, suites)
    if entry is None:
        state, reason = _without_suite(findings, candidate)
        return Decision(candidate=candidate, format=format_name, state=state, reason=reason)
    missing = gaps(findings, candidate, entry.finding.engine)
    state, reason = _with_suite(findings, candidate, entry, missing, bound_of(margin))
    open_suite = state == "inconclusive" and reason.code in ("interval_holds_bound", "too_few_items", "too_few_clusters")
    more = extension(entry.tasks, bound_of(margin), level=level) if open_suite else None
    return Decision(
        candidate=candidate,
        format=format_name,
        state=state,
        reason=reason,
        missing=missing,
        suite=entry.finding,
        extension=more,
        undecidable=undecidable(entry.tasks, bound_of(margin), level=level) if open_suite and more is None else None,
    )


def _with_suite(
    findings: Findings, candidate: str, entry: Suite, missing: Sequence[str], bound: float
) -> tuple[State, DecisionReason]:
    """State and reason of a candidate that has a recovery."""
    others = findings.served_others
    if entry.finding.provenance == "measured" and (own := [name for name in (candidate, findings.base) if name in others]):
        return "inconclusive", OtherWeights(server=own[0])
    if entry.finding.provenance == "measured" and candidate in findings.finer_than_base:
        return "inconclusive", OtherArithmetic(server=candidate)
    if missing:
        return "inconclusive", TaskMissing()
    if entry.recovery.shown_above(bound):
        return "non-inferior", Bounded(code="non_inferior", bound=bound)
    if entry.recovery.shown_below(bound):
        return "inferior", Bounded(code="inferior", bound=bound)
    kept = entry.recovery.estimate
    if kept.low < bound <= kept.high and not entry.recovery.by_clusters:
        return "inconclusive", Bounded(code="interval_holds_bound", bound=bound)
    unseen = entry.finding.unseen_loss if kept.value >= bound else entry.finding.unseen_gain
    return "inconclusive", too_few(entry.tasks, unseen=unseen)


def _without_suite(findings: Findings, candidate: str) -> tuple[State, DecisionReason]:
    """State and reason of a candidate that has no recovery."""
    scored: list[ScoredTask] = [entry for entry in findings.tasks if entry.candidate == candidate]
    if served(findings, candidate):
        scored = [entry for entry in scored if entry.provenance == "measured"]
    if scored:
        at_chance = near_chance(scored)
        above = [entry for entry in scored if near_chance([entry]) is None]
        return "inconclusive", at_chance if at_chance and not above else too_few(above, besides=at_chance)
    if candidate in findings.failed:
        return "failed", StepsFailed(failure=findings.failed[candidate])
    if findings.base in findings.failed:
        return "inconclusive", BaseFailed(failure=findings.failed[findings.base])
    return "inconclusive", NotScored()


def rejected_after_holm(p_values: Mapping[str, float], non_inferior: Sequence[str], *, level: float) -> tuple[str, ...]:
    """Non-inferior formats whose claim does not hold at (1 − level)/2 for the whole family of formats (Holm).

    `p_values` are one-sided, of "recovery is below the bound", of every format of the family. Each decision speaks of one
    format, at the stated level; this says which would fall if all claims are to hold at once.
    """
    adjusted = holm(p_values)
    return tuple(name for name in non_inferior if name in adjusted and adjusted[name] > (1 - level) / 2)
