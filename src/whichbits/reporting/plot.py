"""Charts with two axes, as SVG whose width is its container's and whose height is fixed in pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from whichbits.reporting.scale import Scale
from whichbits.reporting.strip import point
from whichbits.verdict.estimates import Estimate

LABEL_GAP = 15
"""Pixels between two labels that stand above one another."""


@dataclass(frozen=True)
class Point:
    """A candidate's place in a chart; the title is what hovering shows, the address the step it came from."""

    x: Estimate
    y: Estimate
    series: str
    name: str
    title: str
    address: str | None = None
    hollow: bool = False


@dataclass(frozen=True)
class SweepPoint:
    """One value of a sweep, at the category with this index."""

    category: int
    y: Estimate
    valid: bool
    title: str
    address: str | None = None


@dataclass(frozen=True)
class Sweep:
    """The values of one candidate from category to category."""

    name: str
    series: str
    points: tuple[SweepPoint, ...]


def _y(scale: Scale, value: float, height: int) -> float:
    return round(height * (1 - scale.fraction(value)), 1)


def _linked(mark: Markup, title: str, address: str | None) -> Markup:
    body = Markup("<title>{}</title>{}").format(title, mark)
    if address is None:
        return Markup('<g class="datum">{}</g>').format(body)
    return Markup('<a class="datum" href="{}">{}</a>').format(address, body)


def _frame(inner: Markup, below: Markup, y: Scale, unit: str, height: int, label: str) -> Markup:
    """Tick labels on the left, the chart, and what stands below it."""
    text = '<text class="tick" x="100%" dx="-6" y="{}" dy="4" text-anchor="end">{}</text>'
    left = Markup("").join(Markup(text).format(_y(y, t, height), y.label(t)) for t in y.ticks)
    line = '<line class="grid" x1="0" x2="100%" y1="{}" y2="{}"/>'
    grid = Markup("").join(Markup(line).format(_y(y, t, height), _y(y, t, height)) for t in y.ticks)
    return Markup(
        '<div class="plot"><svg class="left" width="100%" height="{}" aria-hidden="true">{}</svg>'
        '<svg class="inner" width="100%" height="{}" role="img" aria-label="{}">{}{}</svg>'
        '<svg class="below" width="100%" height="22" aria-hidden="true">{}</svg></div>'
    ).format(height, left, height, f"{label}{f', {unit}' if unit else ''}", grid, inner, below)


def _label_offsets(points: Sequence[Point], y: Scale, height: int) -> list[float]:
    """Vertical place of each point's label, moved apart where they would cover one another."""
    order = sorted(range(len(points)), key=lambda i: _y(y, points[i].y.value, height))
    places = [0.0] * len(points)
    previous = -float(LABEL_GAP)
    for i in order:
        previous = max(_y(y, points[i].y.value, height) - 9, previous + LABEL_GAP)
        places[i] = previous
    return places


def frontier(points: Sequence[Point]) -> list[Point]:
    """The points that no other point beats in both x and y, by rising x."""
    best: list[Point] = []
    for p in sorted(points, key=lambda p: (-p.x.value, -p.y.value)):
        if not best or p.y.value > best[-1].y.value:
            best.append(p)
    return best[::-1]


def scatter(points: Sequence[Point], x: Scale, y: Scale, *, margin: float, label: str, height: int = 320) -> Markup:
    """Points with error bars either way, the Pareto frontier as steps, and the margin as a dashed line."""
    line = '<line class="{}" x1="{}" x2="{}" y1="{}" y2="{}"/>'
    parts = [Markup(line).format("grid", x.x(t), x.x(t), 0, height) for t in x.ticks]
    if y.holds(margin):
        parts.append(Markup(line).format("margin", "0", "100%", _y(y, margin, height), _y(y, margin, height)))
    edge = frontier(points)
    for a, b in pairwise(edge):
        xa, xb = x.x(a.x.value), x.x(b.x.value)
        ya, yb = _y(y, a.y.value, height), _y(y, b.y.value, height)
        parts.append(Markup(line).format("frontier", xa, xa, ya, yb) + Markup(line).format("frontier", xa, xb, yb, yb))
    for p, place in zip(points, _label_offsets(points, y, height), strict=True):
        px, py = x.x(p.x.value), _y(y, p.y.value, height)
        bars = Markup(line).format(f"whisker {p.series}", x.x(p.x.low), x.x(p.x.high), py, py)
        bars += Markup(line).format(f"whisker {p.series}", px, px, _y(y, p.y.low, height), _y(y, p.y.high, height))
        right = x.fraction(p.x.value) > 0.7
        text = '<text class="name" x="{}" dx="{}" y="{}" text-anchor="{}">{}</text>'
        name = Markup(text).format(px, -9 if right else 9, place, "end" if right else "start", p.name)
        parts.append(_linked(bars + point(px, py, p.series, hollow=p.hollow) + name, p.title, p.address))
    tick = '<text class="tick" x="{}" y="16" text-anchor="middle">{}×</text>'
    below = Markup("").join(Markup(tick).format(x.x(t), x.label(t)) for t in x.ticks)
    return _frame(Markup("").join(parts), below, y, "%", height, label)


def sweep(sweeps: Sequence[Sweep], categories: Sequence[str], y: Scale, *, unit: str, label: str, height: int = 170) -> Markup:
    """Values from category to category, one line a candidate; invalid values are crosses that no line joins."""
    width = 100 / len(categories)
    parts = []
    for i, one in enumerate(sweeps):
        shift = (i - (len(sweeps) - 1) / 2) * min(width * 0.6 / max(len(sweeps), 1), 4)
        places = {s.category: f"{width * (s.category + 0.5) + shift:.2f}%" for s in one.points}
        line = '<line class="{}" x1="{}" x2="{}" y1="{}" y2="{}"/>'
        for a, b in ((a, b) for a, b in pairwise(one.points) if a.valid and b.valid):
            heights = _y(y, a.y.value, height), _y(y, b.y.value, height)
            parts.append(Markup(line).format(f"join {one.series}", places[a.category], places[b.category], *heights))
        for s in one.points:
            at, css = places[s.category], f"whisker {one.series}{'' if s.valid else ' invalid'}"
            bar = Markup(line).format(css, at, at, _y(y, s.y.low, height), _y(y, s.y.high, height))
            mark = point(at, _y(y, s.y.value, height), one.series, valid=s.valid)
            parts.append(_linked(bar + mark, s.title, s.address))
    tick = '<text class="tick" x="{:.2f}%" y="16" text-anchor="middle">{}</text>'
    below = Markup("").join(Markup(tick).format(width * (i + 0.5), name) for i, name in enumerate(categories))
    return _frame(Markup("").join(parts), below, y, unit, height, label)
