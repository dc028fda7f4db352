"""Durations as people say them."""

from __future__ import annotations

import re

UNITS = {"s": 1, "min": 60, "h": 3600}


def duration(seconds: float) -> str:
    """Seconds as text: 42 s, 3 min 05 s, 2 h 10 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def seconds(text: str) -> float:
    """Seconds of a duration as people write it: 90 s, 30 min, 1.5 h. Raises ValueError for text that is none."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?(s|min|h)", text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no duration, as 90 s, 30 min or 1.5 h")
    return float(found[1]) * UNITS[found[2]]
