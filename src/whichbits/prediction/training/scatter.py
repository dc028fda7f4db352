"""A log-log scatter of predicted against measured, as SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

SIZE, MARGIN = 420, 52
COLOURS = ("#3b6fb6", "#c8553d", "#4f9d69", "#8a5fb0", "#b8860b", "#5a6b7b", "#d1699c")


def _ticks(low: float, high: float) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [m * 10.0**d for d in decades for m in (1, 2, 5) if low <= m * 10.0**d <= high]


def scatter(points: Sequence[tuple[float, float, str]], *, title: str, unit: str) -> str:
    """SVG of (measured, predicted, series) triples with the diagonal and lines 20 % off it."""
    values = [v for x, y, _ in points for v in (x, y)]
    low, high = min(values) / 1.15, max(values) * 1.15
    span = math.log(high / low)

    def across(value: float) -> float:
        return MARGIN + (SIZE - 2 * MARGIN) * math.log(value / low) / span

    def up(value: float) -> float:
        return SIZE - across(value)

    series = list(dict.fromkeys(name for _, _, name in points))
    colour = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(series)}
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {SIZE + 130} {SIZE}" font-family="sans-serif" font-size="11">',
        f'<rect width="{SIZE + 130}" height="{SIZE}" fill="white"/>',
        f'<text x="{MARGIN}" y="20" font-size="13">{escape(title)}</text>',
    ]
    for tick in _ticks(low, high):
        x, y = across(tick), up(tick)
        parts += [
            f'<path d="M{x:.1f} {MARGIN}V{SIZE - MARGIN}M{MARGIN} {y:.1f}H{SIZE - MARGIN}" stroke="#eee"/>',
            f'<text x="{x:.1f}" y="{SIZE - MARGIN + 14}" text-anchor="middle">{tick:g}</text>',
            f'<text x="{MARGIN - 5}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>',
        ]
    for factor, dash in ((1.0, "none"), (1.2, "4 4"), (1 / 1.2, "4 4")):
        first, last = max(low, low / factor), min(high, high / factor)
        ends = f"M{across(first):.1f} {up(first * factor):.1f}L{across(last):.1f} {up(last * factor):.1f}"
        parts.append(f'<path d="{ends}" stroke="#999" stroke-dasharray="{dash}"/>')
    dot = '<circle cx="{:.1f}" cy="{:.1f}" r="2.6" fill="{}" fill-opacity="0.65"/>'
    parts += [dot.format(across(x), up(y), colour[name]) for x, y, name in points]
    for i, name in enumerate(series):
        y = MARGIN + 10 + 16 * i
        parts.append(f'<circle cx="{SIZE - 38}" cy="{y - 4}" r="4" fill="{colour[name]}"/>')
        parts.append(f'<text x="{SIZE - 30}" y="{y}">{escape(name)}</text>')
    parts += [
        f'<text x="{SIZE / 2}" y="{SIZE - 12}" text-anchor="middle">measured, {escape(unit)}</text>',
        f'<text transform="translate(14 {SIZE / 2}) rotate(-90)" text-anchor="middle">predicted, {escape(unit)}</text>',
        "</svg>",
    ]
    return "\n".join(parts) + "\n"
