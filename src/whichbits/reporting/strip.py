"""The parts of a forest plot, as SVG whose width is its container's: horizontal positions are percentages."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup

from whichbits.reporting.numbers import with_unit
from whichbits.reporting.scale import Scale
from whichbits.verdict.estimates import Estimate

HEIGHT = 26
"""Pixels of a row, at least: a strip is as high as the row that it stands in."""


@dataclass(frozen=True)
class Mark:
    """A vertical line through all rows: the base, the margin, or chance."""

    value: float
    kind: Literal["reference", "margin", "chance"]
    label: str


def _svg(body: Markup, css: str, label: str) -> Markup:
    svg = '<svg class="{}" width="100%" height="{}" role="img" aria-label="{}">{}</svg>'
    return Markup(svg).format(css, HEIGHT, label, body)


def _lines(scale: Scale, marks: Sequence[Mark]) -> Markup:
    line = Markup('<line class="{}" x1="{}" x2="{}" y1="0" y2="100%"/>')
    grid = [line.format("grid", scale.x(t), scale.x(t)) for t in scale.ticks]
    over = [line.format(m.kind, scale.x(m.value), scale.x(m.value)) for m in marks if scale.holds(m.value)]
    return Markup("").join(grid + over)


def point(x: str, y: float | str, series: str, *, hollow: bool = False, valid: bool = True) -> Markup:
    """One mark: a disc for a measured value, a ring for an emulated one, a cross for an invalid one."""
    if not valid:
        cross = (
            '<svg class="mark invalid" x="{}" y="{}" overflow="visible"><path class="cross {}" d="M-4-4 4 4M-4 4 4-4"/></svg>'
        )
        return Markup(cross).format(x, y, series)
    css = f"mark {'ring' if hollow else 'disc'} {series}"
    return Markup('<circle class="{}" cx="{}" cy="{}" r="{}"/>').format(css, x, y, 4 if hollow else 4.5)


def interval_strip(
    scale: Scale,
    estimate: Estimate,
    marks: Sequence[Mark],
    *,
    series: str,
    label: str,
    hollow: bool = False,
    valid: bool = True,
) -> Markup:
    """A row of a forest plot: the interval as a line, the value as a mark, arrows where the interval leaves the axis."""
    parts = [Markup("<title>{}</title>").format(label), _lines(scale, marks)]
    if math.isfinite(estimate.value):
        whisker = '<line class="whisker {}{}" x1="{}" x2="{}" y1="{}" y2="{}"/>'
        invalid = "" if valid else " invalid"
        ends = scale.x(estimate.low), scale.x(estimate.high)
        parts.append(Markup(whisker).format(series, invalid, *ends, "50%", "50%"))
        arrow = '<svg x="{}" y="{}" overflow="visible"><path class="arrow {}" d="{}"/></svg>'
        if estimate.low < scale.low:
            parts.append(Markup(arrow).format(ends[0], "50%", series, "M2-4-3 0 2 4"))
        if estimate.high > scale.high:
            parts.append(Markup(arrow).format(ends[1], "50%", series, "M-2-4 3 0-2 4"))
        parts.append(point(scale.x(estimate.value), "50%", series, hollow=hollow, valid=valid))
    return _svg(Markup("").join(parts), "strip", label)


def bar_strip(scale: Scale, value: float, *, series: str, label: str) -> Markup:
    """A row of a bar chart from the axis' low end."""
    width = f"{float(scale.x(value)[:-1]) - float(scale.x(scale.low)[:-1]):.2f}%"
    rect = '<rect class="bar {}" x="{}" y="50%" width="{}" height="14" rx="3" transform="translate(0 -7)"/>'
    bar = Markup(rect).format(series, scale.x(scale.low), width)
    return _svg(Markup("<title>{}</title>").format(label) + _lines(scale, ()) + bar, "strip", label)


def axis_strip(scale: Scale, unit: str) -> Markup:
    """The labels under a forest plot; the short units % and × stand at the last tick."""
    text = '<text class="tick" x="{}" y="15" text-anchor="middle">{}</text>'
    last = with_unit(scale.label(scale.ticks[-1]), unit if unit in ("%", "×") else "")
    labels = [*(scale.label(t) for t in scale.ticks[:-1]), last]
    parts = [Markup(text).format(scale.x(t), label) for t, label in zip(scale.ticks, labels, strict=True)]
    return _svg(Markup("").join(parts), "axis", f"axis in {unit}" if unit else "axis")
