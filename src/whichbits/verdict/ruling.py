"""The ruling on each format: admissible, inferior, not resolved, or failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from whichbits.verdict.accuracy import Suite, refusal
from whichbits.verdict.findings import Findings
from whichbits.verdict.model import FormatVerdict, State
from whichbits.verdict.sample_size import would_resolve
from whichbits.verdict.statistics import holm
from whichbits.verdict.wording import listing, percent, plural


def bound_of(margin: float) -> float:
    """Recovery, %, that a format must be shown to reach."""
    return 100 * (1 - margin)


def gaps(findings: Findings, candidate: str, engine: str) -> tuple[str, ...]:
    """Tasks that the suite of a candidate lacks because its own or the base's run is not there."""
    own = findings.incomplete.get((candidate, engine), ())
    of_base = findings.incomplete.get((findings.base, engine), ())
    return tuple(dict.fromkeys((*own, *of_base)))


def ruling_suite(findings: Findings, candidate: str, suites: Sequence[Suite]) -> Suite | None:
    """The suite that decides: what was served rather than emulated, unless only the emulated one is complete."""
    own = [entry for entry in suites if entry.finding.candidate == candidate]
    complete = [entry for entry in own if not gaps(findings, candidate, entry.finding.engine)]
    return next(iter(complete or own), None)


def rule(findings: Findings, candidate: str, suites: Sequence[Suite], *, margin: float, level: float) -> FormatVerdict:
    """Rule on one candidate by the interval of its suite's recovery.

    Admissible: the interval lies at or above 100 · (1 − margin), a one-sided non-inferiority test at (1 − level)/2.
    Inferior: it lies below. Else, or where a task of the suite is missing, not resolved.
    """
    format_name = findings.formats.get(candidate, candidate)
    if candidate == findings.base:
        return FormatVerdict(candidate=candidate, format=format_name, state="base", reason="what the others are compared with")
    entry = ruling_suite(findings, candidate, suites)
    if entry is None:
        state, reason, remedy = _without_suite(findings, candidate)
        return FormatVerdict(candidate=candidate, format=format_name, state=state, reason=reason, would_resolve=remedy)

    finding, bound = entry.finding, bound_of(margin)
    how = " in emulation" if finding.provenance == "emulated" else ""
    kept = f"keeps {percent(finding.recovery, bound)} of the base's score above chance{how}"
    on = f"on {plural(finding.items, 'item')} of {plural(len(finding.tasks), 'task')}"
    state, remedy = _state(finding.recovery.low, finding.recovery.high, bound), None
    missing = gaps(findings, candidate, finding.engine)
    if missing:
        state, remedy = "not resolved", f"a result of {listing(missing)}"
        reason = f"{kept}, but {listing(missing)} {'is' if len(missing) == 1 else 'are'} missing from its suite"
    elif state == "admissible":
        reason = f"{kept}, all of it above the {bound:g} % that the margin asks for, {on}"
    elif state == "inferior":
        reason = f"{kept}, all of it below the {bound:g} % that the margin asks for, {on}"
    else:
        reason = f"{kept}: the interval holds the {bound:g} % that the margin asks for, {on}"
        remedy = would_resolve(entry.tasks, bound, level=level)
    return FormatVerdict(
        candidate=candidate, format=format_name, state=state, reason=reason, suite=finding, would_resolve=remedy
    )


def _state(low: float, high: float, bound: float) -> State:
    if low >= bound:
        return "admissible"
    return "inferior" if high < bound else "not resolved"


def _without_suite(findings: Findings, candidate: str) -> tuple[State, str, str | None]:
    """State, reason and remedy of a candidate that has no recovery."""
    scored = [entry for entry in findings.tasks if entry.candidate == candidate]
    if scored:
        refused = [f"{entry.task}: {refusal(entry) or 'too few items'}" for entry in scored]
        return (
            "not resolved",
            f"no task tells it from the base ({'; '.join(refused)})",
            "tasks on which the base beats guessing",
        )
    if candidate in findings.failed:
        return "failed", findings.failed[candidate], None
    if findings.base in findings.failed:
        return "not resolved", f"the base has no result to compare with: {findings.failed[findings.base]}", "a run of the base"
    return "not resolved", "no task has been scored for it and the base in one engine", "a run of the study's tasks"


def rejected_after_holm(
    suites: Mapping[str, Suite], admissible: Sequence[str], *, margin: float, level: float
) -> tuple[str, ...]:
    """Admissible formats whose claim does not hold at (1 − level)/2 for the whole family of formats (Holm).

    Each ruling speaks of one format, at the stated level; this says which would fall if all claims are to hold at once.
    """
    adjusted = holm({name: entry.recovery.p_below(bound_of(margin)) for name, entry in suites.items()})
    return tuple(name for name in admissible if name in adjusted and adjusted[name] > (1 - level) / 2)
