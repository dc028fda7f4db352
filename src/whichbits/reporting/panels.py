"""Forest plots of the findings: what the page shows of recovery, similarity, cost, emulation and sizes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from markupsafe import Markup

from whichbits.reporting.citations import Citations
from whichbits.reporting.numbers import byte_size, drawn, interval, percent, significant, times
from whichbits.reporting.scale import Scale, around, linear
from whichbits.reporting.strip import Mark, axis_strip, bar_strip, interval_strip
from whichbits.schema.metrics import Better
from whichbits.verdict.estimates import Estimate, Timed
from whichbits.verdict.verdict import CostFinding, SimilarityFinding, TaskRecovery, Verdict
from whichbits.verdict.words.decisions import excluded

T = TypeVar("T")

_UNITY = Estimate(value=1.0, low=1.0, high=1.0)

SERIES = 8
"""Colours that the style sheet has for candidates."""

BETTER: Mapping[Better, str] = {"higher": "higher is better", "lower": "lower is better", "neither": ""}


@dataclass(frozen=True)
class Row:
    """One candidate in a forest plot; `excluded` stands in the place of a plot that cannot be drawn."""

    candidate: str
    series: str
    emulated: bool
    strip: Markup
    text: str
    cites: Markup
    detail: str = ""
    excluded: str | None = None
    valid: bool = True


@dataclass(frozen=True)
class Group:
    """Rows under one heading."""

    title: str
    subtitle: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Panel:
    """Groups over one axis; `marks` are explained in its legend."""

    groups: tuple[Group, ...]
    axis: Markup
    marks: tuple[Mark, ...] = ()


def series_of(verdict: Verdict) -> dict[str, str]:
    """Style class of each candidate: grey for the base, then one colour each in the order of the verdict."""
    others = [f.candidate for f in verdict.formats if f.candidate != verdict.base]
    return {verdict.base: "s0"} | {name: f"s{i % SERIES + 1}" for i, name in enumerate(others)}


def by(items: Iterable[T], *fields: str) -> dict[tuple[Any, ...], list[T]]:
    """Items grouped by some of their fields, in the order of first appearance."""
    groups: dict[tuple[Any, ...], list[T]] = {}
    for item in items:
        groups.setdefault(tuple(getattr(item, name) for name in fields), []).append(item)
    return groups


def interval_row(
    scale: Scale,
    estimate: Estimate,
    marks: Sequence[Mark],
    text: str,
    candidate: str,
    series: Mapping[str, str],
    cites: Markup,
    *,
    emulated: bool = False,
    valid: bool = True,
    detail: str = "",
) -> Row:
    """A candidate's row: the strip of its interval, and the interval as text."""
    css = series.get(candidate, "s0")
    label = f"{candidate}: {text}"
    strip = interval_strip(scale, estimate, marks, series=css, label=label, hollow=emulated, valid=valid)
    return Row(candidate, css, emulated, strip, text, cites, detail, valid=valid)


def recovery_marks(verdict: Verdict) -> tuple[Mark, ...]:
    """Lines of a recovery axis: the base at 100 %, the margin below it, and chance at 0 %."""
    return (
        Mark(100.0, "reference", "base model, 100 %"),
        Mark(100 * (1 - verdict.margin), "margin", f"margin, {100 * (1 - verdict.margin):g} %"),
        Mark(0.0, "chance", "chance, 0 %"),
    )


def recovery_scale(verdict: Verdict) -> Scale:
    """One axis for all recoveries of the study, so that tasks and suites can be compared by eye."""
    estimates = [t.recovery for t in verdict.tasks if t.recovery] + [s.recovery for s in verdict.suites]
    estimates += [m.recovery for m in verdict.modes if m.recovery]
    return around(estimates, include=(100.0, 100 * (1 - verdict.margin)))


def _excluded(finding: TaskRecovery, series: Mapping[str, str], citations: Citations) -> Row:
    css = series.get(finding.candidate, "s0")
    emulated = finding.provenance == "emulated"
    why = excluded(finding.excluded) if finding.excluded else "no recovery"
    text = f"score {percent(finding.score)}"
    cites = citations.cite(finding.steps)
    return Row(finding.candidate, css, emulated, Markup(""), text, cites, excluded=why)


def task_panel(verdict: Verdict, citations: Citations) -> Panel | None:
    """Recovery by task; None where no task was scored."""
    scale, marks, series = recovery_scale(verdict), recovery_marks(verdict), series_of(verdict)
    groups = []
    for (task,), findings in by(verdict.tasks, "task").items():
        rows = [
            interval_row(
                scale, t.recovery, marks, interval(t.recovery, "%"), t.candidate, series, citations.cite(t.steps),
                emulated=t.provenance == "emulated",
            )
            if t.recovery
            else _excluded(t, series, citations)
            for t in findings
        ]  # fmt: skip
        groups.append(Group(task, _task_facts(findings), tuple(rows)))
    shown = tuple(m for m in marks if scale.holds(m.value))
    return Panel(tuple(groups), axis_strip(scale, "%"), shown) if groups else None


def _task_facts(findings: Sequence[TaskRecovery]) -> str:
    base = sorted({percent(t.base_score) for t in findings})
    return f"{_counts(t.items for t in findings)} · base scores {' / '.join(base)} · chance {percent(findings[0].chance)}"


def _counts(items: Iterable[int]) -> str:
    counts = sorted(set(items))
    return f"{counts[0]:,} items" if len(counts) == 1 else f"{counts[0]:,}–{counts[-1]:,} items"


def suite_panel(verdict: Verdict, citations: Citations) -> Panel | None:
    """Recovery over all tasks together; None where no suite could be formed."""
    if not verdict.suites:
        return None
    scale, marks, series = recovery_scale(verdict), recovery_marks(verdict), series_of(verdict)
    rows = []
    for s in verdict.suites:
        text = interval(s.recovery, "%", bound=100 * (1 - verdict.margin))
        detail = f"detects ±{significant(s.smallest_difference, 2)} points · {percent(s.flips)} of items changed"
        rows.append(
            interval_row(
                scale, s.recovery, marks, text, s.candidate, series, citations.cite(s.steps),
                emulated=s.provenance == "emulated", detail=detail,
            )
        )  # fmt: skip
    names = dict.fromkeys(task for s in verdict.suites for task in s.tasks)
    facts = f"{_counts(s.items for s in verdict.suites)} of {', '.join(names)}"
    shown = tuple(m for m in marks if scale.holds(m.value))
    return Panel((Group("All tasks together", facts, tuple(rows)),), axis_strip(scale, "%"), shown)


def similarity_panels(verdict: Verdict, citations: Citations) -> list[Panel]:
    """One panel for each measure on each set of prompts or text, each with its own axis."""
    series = series_of(verdict)
    described = {measure.key: measure for measure in verdict.measures}
    panels = []
    for (key, data), findings in by(verdict.similarity, "measure", "data").items():
        measure = described[key]
        unit, known = measure.unit, measure.reference
        factor = 100.0 if unit == "%" else 1.0
        scaled = [f.estimate.scaled(factor) for f in findings]
        marks = (Mark(factor * known.value, "reference", known.title),) if known else ()
        scale = around(scaled, include=[m.value for m in marks], count=3)
        rows = tuple(
            _similarity_row(f, e, scale, marks, unit, series, citations, again=f.candidate == verdict.base)
            for f, e in zip(findings, scaled, strict=True)
        )
        facts = [data, _counts(f.items for f in findings), BETTER[measure.better]]
        panels.append(
            Panel(
                (Group(measure.title, " · ".join(filter(None, facts)), rows),),
                axis_strip(scale, unit),
                marks,
            )
        )
    return panels


def _similarity_row(
    finding: SimilarityFinding,
    estimate: Estimate,
    scale: Scale,
    marks: tuple[Mark, ...],
    unit: str,
    series: Mapping[str, str],
    citations: Citations,
    *,
    again: bool,
) -> Row:
    """`again` says that the base was compared with itself."""
    return interval_row(
        scale, estimate, marks, interval(estimate, unit), finding.candidate, series, citations.cite(finding.steps),
        emulated=finding.provenance == "emulated", detail="run again, in other batches" if again else "",
    )  # fmt: skip


def emulation_panel(verdict: Verdict, citations: Citations) -> Panel | None:
    """Emulated minus served score of the formats that ran both ways; None where none did."""
    series, marks = series_of(verdict), (Mark(0.0, "reference", "no difference"),)
    scaled = {id(e): e.difference.scaled(100.0) for e in verdict.emulation}
    scale = around(list(scaled.values()), include=(0.0,))
    groups = []
    for (task,), findings in by(verdict.emulation, "task").items():
        rows = tuple(
            interval_row(
                scale, scaled[id(e)], marks, interval(scaled[id(e)], "points"), e.candidate, series, citations.cite(e.steps),
                detail=f"{percent(e.disagreements)} of items scored differently",
            )
            for e in findings
        )  # fmt: skip
        groups.append(Group(task, _counts(e.items for e in findings), rows))
    return Panel(tuple(groups), axis_strip(scale, "points"), marks) if groups else None


def cost_panel(verdict: Verdict, citations: Citations) -> Panel | None:
    """Queries per dollar over the base's, by workload and mode; None where no cost was computed."""
    series, marks = series_of(verdict), (Mark(1.0, "reference", "base model"),)
    reductions = [drawn(c.cost_reduction) for c in verdict.cost if c.cost_reduction and c.valid]
    scale = around(reductions, include=(1.0,))
    groups = []
    for (workload, deployment, mode), findings in by(verdict.cost, "workload", "deployment", "mode").items():
        rows = [
            interval_row(
                scale, drawn(reduction), marks, "1×" if c.candidate == verdict.base else times(reduction),
                c.candidate, series, citations.cite(c.steps), valid=c.valid, detail=_queries(c.queries_per_dollar),
            )
            for c in findings
            if (reduction := _UNITY if c.candidate == verdict.base else c.cost_reduction)
        ]  # fmt: skip
        if rows:
            groups.append(Group(f"{workload} · {mode}", _option(deployment, findings), tuple(rows)))
    return Panel(tuple(groups), axis_strip(scale, "×"), marks) if groups else None


def _queries(queries_per_dollar: Timed | None) -> str:
    return f"{interval(queries_per_dollar)} queries per dollar" if queries_per_dollar else ""


def _option(deployment: str, findings: Sequence[CostFinding]) -> str:
    load_levels = " / ".join(dict.fromkeys(c.load_level for c in findings))
    prices = dict.fromkeys(f"${c.price_per_hour:g} per hour" for c in findings if c.price_per_hour is not None)
    return " · ".join([deployment, f"load: {load_levels}", *prices])


def size_panel(verdict: Verdict, citations: Citations) -> Panel | None:
    """Bytes of each checkpoint; None where none is known."""
    if not verdict.sizes:
        return None
    series = series_of(verdict)
    largest = max(s.bytes for s in verdict.sizes)
    unit, divisor = ("GB", 1e9) if largest >= 1e9 else ("MB", 1e6)
    scale = linear(0, largest / divisor)
    rows = []
    for s in verdict.sizes:
        bits = "" if s.bits_per_weight is None else f" · {s.bits_per_weight:.2f} bits per weight"
        text = f"{byte_size(s.bytes)} ({s.ratio:.2f}×)"
        css = series.get(s.candidate, "s0")
        strip = bar_strip(scale, s.bytes / divisor, series=css, label=f"{s.candidate}: {text}")
        rows.append(Row(s.candidate, css, False, strip, text, citations.cite(s.steps), f"{s.bytes:,} bytes{bits}"))
    return Panel((Group("", "", tuple(rows)),), axis_strip(scale, unit))
