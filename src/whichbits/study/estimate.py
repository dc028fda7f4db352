"""How long the cells still missing will take, from those that are done."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from whichbits.study.cell import Cell


@dataclass(frozen=True)
class Estimate:
    """Seconds for a number of cells; `unknown` counts those of kinds that were never run."""

    seconds: float
    unknown: int

    def __str__(self) -> str:
        known = duration(self.seconds)
        if not self.unknown:
            return known
        return f"unknown ({self.unknown} cells)" if not self.seconds else f"{known} and {self.unknown} cells of unknown length"


def duration(seconds: float) -> str:
    """Seconds as people say them: 42 s, 3 min 05 s, 2 h 10 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def group(kind: str, labels: Mapping[str, str]) -> tuple[str, ...]:
    """Cells of one group take about the same time: same kind, task or workload, and engine."""
    return (kind, labels.get("task", ""), labels.get("workload", ""), labels.get("engine", ""))


class Durations:
    """Seconds that cells took, by group; filled from stores and while running."""

    def __init__(self) -> None:
        self._seconds: dict[tuple[str, ...], list[float]] = {}

    def add(self, kind: str, labels: Mapping[str, str], seconds: float) -> None:
        """Note how long one cell took."""
        for key in {group(kind, labels), (kind,)}:
            self._seconds.setdefault(key, []).append(seconds)

    def read(self, store: Path) -> None:
        """Note all finished cells of a store."""
        for path in store.glob("cells/*/*/result.json"):
            result = json.loads(path.read_text())
            if "seconds" in result["provenance"]:
                self.add(result["kind"], result["labels"], float(result["provenance"]["seconds"]))

    def cell(self, cell: Cell) -> float | None:
        """Median of the cell's group, else of its kind; None where none was run."""
        for key in (group(cell.kind, cell.labels), (cell.kind,)):
            if key in self._seconds:
                return median(self._seconds[key])
        return None

    def total(self, cells: Iterable[Cell]) -> Estimate:
        """Seconds of all `cells`, one after another."""
        each = [self.cell(cell) for cell in cells]
        return Estimate(sum(seconds for seconds in each if seconds is not None), sum(seconds is None for seconds in each))
