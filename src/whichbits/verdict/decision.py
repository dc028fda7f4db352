"""The decision on each format: non-inferior, inferior, inconclusive, or failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from whichbits.verdict.accuracy import Suite, refusal, too_few
from whichbits.verdict.findings import Findings
from whichbits.verdict.model import Decision, DecisionCode, Extension, State
from whichbits.verdict.sample_size import NAMED, needed_to_decide
from whichbits.verdict.statistics import holm
from whichbits.verdict.words import listing, percent, plural


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
        return Decision(candidate=candidate, format=format_name, state="base", reason="what the others are compared with")
    entry = deciding_suite(findings, candidate, suites)
    if entry is None:
        return _without_suite(findings, candidate, format_name)

    finding, bound = entry.finding, bound_of(margin)
    how = " in emulation" if finding.provenance == "emulated" else ""
    kept = f"keeps {percent(finding.recovery, bound)} of the base's score above chance{how}"
    on = f"on {plural(finding.items, 'item')} of {plural(len(finding.tasks), 'task')}"
    missing = gaps(findings, candidate, finding.engine)

    def verdict(
        state: State, code: DecisionCode, reason: str, remedy: str | None = None, more: Extension | None = None
    ) -> Decision:
        return Decision(
            candidate=candidate,
            format=format_name,
            state=state,
            code=code,
            reason=reason,
            missing=missing,
            suite=finding,
            extension=more,
            needed_to_decide=remedy,
        )

    others = findings.served_others
    if finding.provenance == "measured" and (own := [name for name in (candidate, findings.base) if name in others]):
        reason = f"{kept}, but the server of {own[0]} does not serve its weights"
        return verdict("inconclusive", "other_weights", reason, f"the checkpoint of {own[0]} at its address")
    if missing:
        reason = f"{kept}, but {listing(missing)} {'is' if len(missing) == 1 else 'are'} missing from its suite"
        return verdict("inconclusive", "task_missing", reason, f"a result of {listing(missing)}")
    if entry.recovery.shown_above(bound):
        return verdict(
            "non-inferior", "non_inferior", f"{kept}, all of it above the {bound:g} % that the margin asks for, {on}"
        )
    if entry.recovery.shown_below(bound):
        return verdict("inferior", "inferior", f"{kept}, all of it below the {bound:g} % that the margin asks for, {on}")
    code, why = _undecided(entry, bound)
    more, remedy, cannot = needed_to_decide(entry.tasks, bound, level=level)
    return verdict("inconclusive", code, f"{kept}{why}, {on}{f'; {cannot}' if cannot else ''}", remedy, more)


def _undecided(entry: Suite, bound: float) -> tuple[DecisionCode, str]:
    """Why a complete suite is on neither side of the bound."""
    kept, finding = entry.recovery.estimate, entry.finding
    if kept.low < bound <= kept.high and not entry.recovery.by_clusters:
        return "interval_holds_bound", f": the interval holds the {bound:g} % that the margin asks for"
    unseen = finding.unseen_loss if kept.value >= bound else finding.unseen_gain
    few = {scored.task: len(scored.pair.cluster_sizes) for scored in entry.tasks if scored.pair.clustered}
    if len(few) > NAMED:
        units = f"{plural(sum(few.values()), 'cluster')} of {len(few)} tasks"
    else:
        units = listing([f"{plural(n, 'cluster')} of {task}" for task, n in few.items()] or [plural(finding.items, "item")])
    reason = (
        f", but {units} are too few to tell it from the {bound:g} % that the margin asks for: others, not among them, could "
        f"change it by {unseen:.2g} points"
    )
    return ("too_few_clusters" if few else "too_few_items"), reason


def _without_suite(findings: Findings, candidate: str, format_name: str) -> Decision:
    """The decision on a candidate that has no recovery."""

    def verdict(state: State, code: DecisionCode, reason: str, remedy: str | None = None) -> Decision:
        return Decision(candidate=candidate, format=format_name, state=state, code=code, reason=reason, needed_to_decide=remedy)

    scored = [entry for entry in findings.tasks if entry.candidate == candidate]
    if served(findings, candidate):
        scored = [entry for entry in scored if entry.provenance == "measured"]
    if scored:
        above = [entry for entry in scored if refusal(entry) is None]
        refused = [f"{entry.task}: {why.text}" for entry in scored if (why := refusal(entry))]
        if not above:
            remedy = "tasks on which the base beats guessing"
            return verdict("inconclusive", "base_near_chance", f"no task tells it from the base ({'; '.join(refused)})", remedy)
        few = too_few(above)
        more = "clusters" if few.code == "too_few_clusters" else "items"
        reason = f"no task tells it from the base ({'; '.join([*refused, few.text])})"
        return verdict("inconclusive", few.code, reason, f"more {more} of {listing([entry.task for entry in above])}")
    if candidate in findings.failed:
        return verdict("failed", "cells_failed", findings.failed[candidate])
    if findings.base in findings.failed:
        reason = f"the base has no result to compare with: {findings.failed[findings.base]}"
        return verdict("inconclusive", "base_failed", reason, "a run of the base")
    reason = "no task has been scored for it and the base in one engine"
    return verdict("inconclusive", "not_scored", reason, "a run of the study's tasks")


def rejected_after_holm(
    suites: Mapping[str, Suite], non_inferior: Sequence[str], *, margin: float, level: float
) -> tuple[str, ...]:
    """Non-inferior formats whose claim does not hold at (1 − level)/2 for the whole family of formats (Holm).

    Each decision speaks of one format, at the stated level; this says which would fall if all claims are to hold at once.
    """
    adjusted = holm({name: entry.recovery.p_below(bound_of(margin)) for name, entry in suites.items()})
    return tuple(name for name in non_inferior if name in adjusted and adjusted[name] > (1 - level) / 2)
