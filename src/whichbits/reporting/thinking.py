"""Thinking modes: recovery in each, and the table of scores, lengths, truncated and repetitive replies, and time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from whichbits.reporting.citations import Citations
from whichbits.reporting.numbers import duration, interval, percent
from whichbits.reporting.panels import Group, Panel, Row, by, interval_row, recovery_marks, recovery_scale, series_of
from whichbits.reporting.scale import Scale
from whichbits.reporting.strip import axis_strip
from whichbits.schema.metrics import Measure
from whichbits.verdict.verdict import ModeResult, ReplyFigure, Verdict


@dataclass(frozen=True)
class Cell:
    """A measure of replies: its mean, and below it its change from the base."""

    text: str
    change: str = ""
    changed: bool = False
    """Whether the change's interval excludes 0."""


@dataclass(frozen=True)
class ResultRow:
    """A checkpoint's replies to a task in a mode."""

    mode: str
    candidate: str
    series: str
    emulated: bool
    items: int
    score: str
    recovery: str
    cells: tuple[Cell, ...]
    time: str
    cites: Markup


@dataclass(frozen=True)
class ResultTable:
    """All modes and checkpoints on one task."""

    task: str
    concurrency: str
    rows: tuple[ResultRow, ...]


def reply_measures(verdict: Verdict) -> tuple[Measure, ...]:
    """The measures that are shown, a column each."""
    return tuple(measure for measure in verdict.reply_measures if measure.shown)


def result_tables(verdict: Verdict, citations: Citations) -> tuple[ResultTable, ...]:
    """A table a task; none where no task was asked in a thinking mode."""
    series, measures = series_of(verdict), reply_measures(verdict)
    tables = []
    for (task,), results in by(verdict.thinking, "task").items():
        modes = list(dict.fromkeys(result.mode for result in results))
        ordered = sorted(results, key=lambda result: modes.index(result.mode))
        rows = tuple(
            ResultRow(
                mode=result.mode,
                candidate=result.candidate,
                series=series.get(result.candidate, "s0"),
                emulated=result.provenance == "emulated",
                items=result.items,
                score=percent(result.score),
                recovery=interval(result.recovery, "%") if result.recovery else "",
                cells=tuple(cell(result, measure) for measure in measures),
                time="" if result.seconds is None else duration(result.seconds),
                cites=citations.cite(result.steps),
            )
            for result in ordered
        )
        tables.append(ResultTable(task, _in_flight(results), rows))
    return tuple(tables)


def _in_flight(results: Sequence[ModeResult]) -> str:
    """Requests in flight while times were taken."""
    return " / ".join(str(n) for n in sorted({r.concurrency for r in results if r.seconds is not None and r.concurrency}))


def cell(result: ModeResult, measure: Measure) -> Cell:
    """One measure of one result; empty where there is none."""
    figure = figure_of(result, measure)
    if figure is None:
        return Cell("")
    scale, unit, points = (100.0, "%", "points") if measure.unit == "%" else (1.0, measure.unit, measure.unit)
    text = interval(figure.estimate, unit, scale=scale)
    if figure.change is None:
        return Cell(text)
    sign = "+" if figure.change.value > 0 else ""
    return Cell(text, f"{sign}{interval(figure.change, points, scale=scale)}", is_changed(figure))


def figure_of(result: ModeResult, measure: Measure) -> ReplyFigure | None:
    """A result's figure of a measure."""
    return next((figure for figure in result.figures if figure.measure == measure.key), None)


def is_changed(figure: ReplyFigure) -> bool:
    """Whether the interval of its change from the base excludes 0."""
    return figure.change is not None and not figure.change.low <= 0 <= figure.change.high


def mode_panel(verdict: Verdict, citations: Citations) -> Panel | None:
    """Recovery of each candidate over its tasks in each mode; None where there is none."""
    scale, marks, series = recovery_scale(verdict), recovery_marks(verdict), series_of(verdict)
    groups = []
    for (mode,), found in by(verdict.modes, "mode").items():
        rows: list[Row] = []
        for one in found:
            if one.recovery is not None:
                text = interval(one.recovery, "%", bound=100 * (1 - verdict.margin))
                cites = citations.cite(one.steps)
                emulated = one.provenance == "emulated"
                rows.append(interval_row(scale, one.recovery, marks, text, one.candidate, series, cites, emulated=emulated))
        if rows:
            groups.append(Group(f"Mode {mode}", ", ".join(dict.fromkeys(t for one in found for t in one.tasks)), tuple(rows)))
    return _over(scale, verdict, groups) if groups else None


def _over(scale: Scale, verdict: Verdict, groups: Sequence[Group]) -> Panel:
    return Panel(tuple(groups), axis_strip(scale, "%"), tuple(m for m in recovery_marks(verdict) if scale.holds(m.value)))
