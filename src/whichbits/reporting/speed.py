"""Speed of the candidates, by workload and load, and speed against accuracy."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from whichbits.reporting.citations import Citations
from whichbits.reporting.numbers import drawn, interval, seconds_interval, times
from whichbits.reporting.panels import BETTER, by, series_of
from whichbits.reporting.plot import Point, Sweep, SweepPoint, scatter, sweep
from whichbits.reporting.scale import around, from_zero
from whichbits.schema.metrics import ServingMetric
from whichbits.verdict.estimates import Estimate
from whichbits.verdict.verdict import CostFinding, SpeedFinding, Verdict
from whichbits.verdict.words.recommendations import speed_reason

SECONDS = "s"
"""The unit that is shown as ms where that reads better."""


@dataclass(frozen=True)
class SpeedChart:
    """One metric over the levels of the sweep."""

    title: str
    unit: str
    better: str
    chart: Markup


@dataclass(frozen=True)
class SpeedRow:
    """One figure of the table."""

    metric: str
    load_level: str
    candidate: str
    series: str
    value: str
    ratio: str
    valid: bool
    reasons: tuple[str, ...]
    cites: Markup


@dataclass(frozen=True)
class SpeedSection:
    """All speeds of one workload on one deployment."""

    workload: str
    deployment: str
    candidates: tuple[str, ...]
    charts: tuple[SpeedChart, ...]
    rows: tuple[SpeedRow, ...]
    invalid: tuple[SpeedRow, ...]


@dataclass(frozen=True)
class ParetoChart:
    """Speed against accuracy for one workload and mode; `absent` says who is not on it, and why."""

    title: str
    subtitle: str
    chart: Markup
    absent: tuple[str, ...]


def metric_title(metric: ServingMetric, percentile: float | None) -> str:
    """Name of a metric for people, with its statistic."""
    if metric.per == "level":
        return metric.title
    return f"{metric.title}, {'mean' if percentile is None else f'p{percentile:g}'}"


def value_text(metric: ServingMetric, finding: SpeedFinding) -> str:
    """Value with interval and unit."""
    return seconds_interval(finding.estimate) if metric.unit == SECONDS else interval(finding.estimate, metric.unit)


def _level_order(load_level: str) -> tuple[str, float]:
    kind, _, load = load_level.partition(" ")
    return (kind, float(load)) if re.fullmatch(r"\d+(\.\d+)?", load) else ("", 0.0)


def _short(load_level: str) -> str:
    """A load level as the axis labels it: 'sync', the requests in flight, or the rate of arrival."""
    if load_level.startswith("rate "):
        rate, *rest = load_level.removeprefix("rate ").split(", ")
        return ", ".join([f"{rate}/s", *rest])
    return "sync" if load_level == "synchronous" else load_level.removeprefix("concurrency ")


def speed_sections(verdict: Verdict, citations: Citations) -> list[SpeedSection]:
    """The speeds by workload and deployment: a chart for each metric, and every figure in a table."""
    series = series_of(verdict)
    described = {metric.key: metric for metric in verdict.metrics}
    places = {key: place for place, key in enumerate(described)}
    sections = []
    for (workload, deployment), found in by(verdict.speed, "workload", "deployment").items():
        ordered = sorted(found, key=lambda f: (places[f.metric], f.percentile or 0.0, _level_order(f.load_level)))
        levels = sorted({f.load_level for f in found}, key=_level_order)
        charts = tuple(
            _chart(described[group[0].metric], group, levels, series, citations)
            for group in by(ordered, "metric", "percentile").values()
        )
        rows = tuple(
            SpeedRow(
                metric_title(described[f.metric], f.percentile), f.load_level, f.candidate, series.get(f.candidate, "s0"),
                value_text(described[f.metric], f),
                times(f.ratio) if f.ratio else "", f.valid, tuple(map(speed_reason, f.reasons)), citations.cite(f.steps),
            )
            for f in ordered
        )  # fmt: skip
        sections.append(
            SpeedSection(
                workload,
                deployment,
                tuple(dict.fromkeys(f.candidate for f in found)),
                charts,
                rows,
                tuple(r for r in rows if not r.valid),
            )
        )
    return sections


def _chart(
    metric: ServingMetric,
    found: Sequence[SpeedFinding],
    levels: Sequence[str],
    series: dict[str, str],
    citations: Citations,
) -> SpeedChart:
    seconds = metric.unit == SECONDS
    milli = seconds and max(f.estimate.value for f in found) < 1
    unit = "ms" if milli else metric.unit
    factor = 1000.0 if milli else 1.0
    title = metric_title(metric, found[0].percentile)
    sweeps = []
    for (candidate,), values in by(found, "candidate").items():
        points = tuple(
            SweepPoint(
                levels.index(f.load_level),
                drawn(f.estimate).scaled(factor),
                f.valid,
                _hover(metric, f),
                citations.link(f.steps),
            )
            for f in values
        )
        sweeps.append(Sweep(candidate, series.get(candidate, "s0"), points))
    y = from_zero([s.y for one in sweeps for s in one.points], count=4)
    short = [_short(load_level) for load_level in levels]
    return SpeedChart(title, unit, BETTER[metric.better], sweep(sweeps, short, y, unit=unit, label=title))


def _hover(metric: ServingMetric, finding: SpeedFinding) -> str:
    text = f"{finding.candidate}, {finding.load_level}: {value_text(metric, finding)}"
    if finding.ratio:
        text += f", {times(finding.ratio)} the base"
    return text if finding.valid else f"{text}. Invalid: {'; '.join(map(speed_reason, finding.reasons))}"


def pareto_charts(verdict: Verdict, citations: Citations) -> list[ParetoChart]:
    """Speed against accuracy, one chart for each workload, deployment and mode with a valid speed.

    On one deployment the ratio of queries per dollar is the ratio of speeds, so no price is needed.
    """
    charts = []
    y = around([s.recovery for s in verdict.suites], include=(100.0, 100 * (1 - verdict.margin)))
    for (workload, deployment, mode), found in by(verdict.cost, "workload", "deployment", "mode").items():
        points, absent = _points(verdict, found, citations)
        if len(points) > 1:
            x = around([p.x for p in points], include=(1.0,))
            levels = sorted({c.load_level for c in found if c.valid}, key=_level_order)
            margin = 100 * (1 - verdict.margin)
            label = f"speed against recovery, {workload}, {mode}"
            chart = scatter(points, x, y, margin=margin, label=label)
            charts.append(ParetoChart(f"{workload} · {mode}", f"{deployment} · {', '.join(levels)}", chart, absent))
    return charts


def _points(verdict: Verdict, found: Sequence[CostFinding], citations: Citations) -> tuple[list[Point], tuple[str, ...]]:
    series, costs = series_of(verdict), {c.candidate: c for c in found}
    one, hundred = Estimate(value=1, low=1, high=1), Estimate(value=100, low=100, high=100)
    points = [Point(one, hundred, "s0", verdict.base, f"{verdict.base}, the base model")]
    absent = []
    for decision in verdict.formats:
        name, cost, suite = decision.candidate, costs.get(decision.candidate), decision.suite
        if name == verdict.base:
            continue
        if suite is None:
            absent.append(f"{name}: no recovery")
        elif suite.provenance == "emulated" and cost is None:
            absent.append(f"{name}: emulated, so it has no speed")
        elif cost is None or cost.cost_reduction is None:
            absent.append(f"{name}: no speed measured")
        elif not cost.valid:
            absent.append(f"{name}: its speed run is invalid")
        else:
            title = f"{name}: {times(cost.cost_reduction)} the base's speed, {interval(suite.recovery, '%')} recovery"
            address = citations.link((*cost.steps, *suite.steps))
            hollow = suite.provenance == "emulated"
            points.append(Point(drawn(cost.cost_reduction), suite.recovery, series[name], name, title, address, hollow))
    return points, tuple(absent)
