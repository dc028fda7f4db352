"""The first screen: the decision on each format, the recommendations, what would change them, and how far to trust it all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from whichbits.reporting.citations import Citations
from whichbits.reporting.context import ReportContext, StepEntry
from whichbits.reporting.numbers import fixed, interval, percent, times
from whichbits.reporting.panels import by, recovery_marks, recovery_scale, series_of
from whichbits.reporting.strip import interval_strip
from whichbits.schema.probe import ProbeSummary
from whichbits.verdict.verdict import CostFinding, Decision, Verdict
from whichbits.verdict.words.decisions import decision_reason, excluded, failure, needed_to_decide
from whichbits.verdict.words.recommendations import speed_reason, would_win


@dataclass(frozen=True)
class FormatRow:
    """One format in the table of the first screen."""

    decision: Decision
    series: str
    emulated: bool
    recommended: bool
    why: str
    recovery: str
    strip: Markup
    size: str
    speeds: tuple[tuple[str, str], ...]
    """(mode, speed over the base's)."""
    cites: Markup


@dataclass(frozen=True)
class Check:
    """One line of the validity checklist."""

    passed: bool
    text: str
    details: tuple[str, ...] = ()


def is_emulated(decision: Decision, verdict: Verdict) -> bool:
    """Whether the accuracy of a candidate comes from emulation alone."""
    kinds = {t.provenance for t in verdict.tasks if t.candidate == decision.candidate}
    return decision.suite.provenance == "emulated" if decision.suite else kinds == {"emulated"}


def speed_texts(candidate: str, cost: Sequence[CostFinding]) -> tuple[tuple[str, str], ...]:
    """Valid speeds over the base's by mode: with interval for one workload, as a range for several."""
    texts = []
    for (mode,), found in by([c for c in cost if c.candidate == candidate and c.valid], "mode").items():
        ratios = [c.cost_reduction for c in found if c.cost_reduction]
        if len(ratios) == 1:
            texts.append((mode, times(ratios[0])))
        elif ratios:
            low, high = min(r.value for r in ratios), max(r.value for r in ratios)
            texts.append((mode, f"{fixed(low, 2)}× to {fixed(high, 2)}× over {len(ratios)} workloads"))
    return tuple(texts)


def format_rows(verdict: Verdict, citations: Citations) -> list[FormatRow]:
    """The table of the first screen, in the order of the verdict."""
    series, scale, marks = series_of(verdict), recovery_scale(verdict), recovery_marks(verdict)
    sizes = {s.candidate: s for s in verdict.sizes}
    chosen = {r.candidate for r in verdict.recommendations}
    rows = []
    for decision in verdict.formats:
        name, suite, size = decision.candidate, decision.suite, sizes.get(decision.candidate)
        recovery = interval(suite.recovery, "%", bound=100 * (1 - verdict.margin)) if suite else ""
        emulated = is_emulated(decision, verdict)
        strip = Markup("")
        if suite:
            label = f"{name}: recovery {recovery}"
            strip = interval_strip(scale, suite.recovery, marks, series=series[name], label=label, hollow=emulated)
        steps = (*(suite.steps if suite else ()), *(size.steps if size else ()))
        steps += tuple(key for c in verdict.cost if c.candidate == name and c.valid for key in c.steps)
        rows.append(
            FormatRow(
                decision, series[name], emulated, name in chosen, decision_reason(decision, verdict.margin), recovery, strip,
                f"{size.ratio:.2f}×" if size else "",
                () if name == verdict.base else speed_texts(name, verdict.cost), citations.cite(steps),
            )
        )  # fmt: skip
    return rows


def would_change(verdict: Verdict) -> list[tuple[str, str]]:
    """(what it is about, what would change the answer), from the recommendations and the inconclusive formats."""
    lines = [(f"{r.workload}, {r.mode}", said) for r in verdict.recommendations if (said := would_win(r, verdict))]
    lines += [(f.candidate, needed) for f in verdict.formats if (needed := needed_to_decide(f))]
    return lines


def checklist(verdict: Verdict, context: ReportContext) -> list[Check]:
    """What was checked, from the findings themselves."""
    return [
        _steps(verdict, context),
        _speeds(verdict),
        _tasks(verdict),
        _noise(verdict),
        _emulation(verdict),
        _engines(verdict, context.steps),
    ]


def _steps(verdict: Verdict, context: ReportContext) -> Check:
    done = sum(c.state == "done" for c in context.steps)
    return Check(
        done == len(context.steps), f"{done} of {len(context.steps)} steps are complete", tuple(map(failure, verdict.failures))
    )


def _speeds(verdict: Verdict) -> Check:
    if not verdict.speed:
        return Check(False, "No speed was measured")
    bad = [f for f in verdict.speed if not f.valid]
    details = dict.fromkeys(
        f"{f.candidate}, {f.workload}, {f.load_level}: {'; '.join(map(speed_reason, f.reasons))}" for f in bad
    )
    text = f"{len(verdict.speed) - len(bad)} of {len(verdict.speed)} speed figures are valid"
    return Check(not bad, f"{text}; the others are shown and not used" if bad else text, tuple(details))


def _tasks(verdict: Verdict) -> Check:
    if not verdict.tasks:
        return Check(False, "No task was scored")
    left_out = dict.fromkeys(f"{t.task}: {excluded(t.excluded)}" for t in verdict.tasks if t.excluded is not None)
    tasks = len({t.task for t in verdict.tasks})
    names = {t.task for t in verdict.tasks if t.excluded is not None}
    text = f"{tasks - len(names)} of {tasks} tasks can show a loss on this model"
    return Check(not left_out, text, tuple(left_out))


def _noise(verdict: Verdict) -> Check:
    floors = [s.noise_floor_flips for s in verdict.suites if s.noise_floor_flips is not None]
    if not floors:
        return Check(False, "The base was not run twice, so its own run-to-run noise is unknown")
    return Check(True, f"The base was run twice: {percent(max(floors))} of its items change from run to run")


def _emulation(verdict: Verdict) -> Check:
    emulated = [f.candidate for f in verdict.formats if is_emulated(f, verdict)]
    if not emulated:
        return Check(True, "No candidate is judged by emulation")
    known = (
        "what emulation itself gets wrong is printed under Recovery"
        if verdict.emulation
        else "and no format ran both ways to show its error"
    )
    return Check(bool(verdict.emulation), f"Judged by emulation: {', '.join(emulated)}; {known}")


def _engines(verdict: Verdict, steps: Sequence[StepEntry]) -> Check:
    probes = [(c.labels.get("candidate", ""), c.summary) for c in steps if isinstance(c.summary, ProbeSummary)]
    if not probes:
        return Check(False, "No probe says which kernels the engine used")
    details = tuple(
        f"{candidate}: {found.status}" + "".join(f", {said}" for said in (found.kernel, found.reason) if said)
        for candidate, found in probes
    )
    native = sum(found.status == "native" for _, found in probes)
    text = f"{native} of {len(probes)} probed formats have a native kernel"
    passed = native == len(probes)
    return Check(passed, text if passed else f"{text}; the speed of another path is not used", details)
