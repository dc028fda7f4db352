"""How long the steps still missing will take, from those that are done, else from a forecast."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from whichbits.core.durations import duration
from whichbits.schema.labels import Labels
from whichbits.schema.step import Step
from whichbits.studies.steps.planned import Planned
from whichbits.studies.store.result import read_result, result_files, those_there


@dataclass(frozen=True)
class Estimate:
    """Seconds for a number of steps, `predicted` of them by a forecast; `unknown` counts steps that neither knows."""

    seconds: float
    unknown: int
    predicted: float = 0.0

    def and_predicted(self, seconds: float) -> Estimate:
        """With so many more, which a forecast gives."""
        return Estimate(self.seconds + seconds, self.unknown, self.predicted + seconds)

    def __str__(self) -> str:
        known = duration(self.seconds)
        if self.predicted:
            known += " (predicted)" if self.predicted == self.seconds else f" ({duration(self.predicted)} of it predicted)"
        if not self.unknown:
            return known
        steps = f"{self.unknown} step{'s' * (self.unknown > 1)}"
        return f"unknown ({steps})" if not self.seconds else f"{known} and {steps} of unknown length"


def group(kind: str, labels: Labels) -> tuple[str, ...]:
    """Steps of one group take about the same time: same kind, task or workload, and engine."""
    return (kind, labels.task or "", labels.workload or "", labels.engine or "")


class Durations:
    """Seconds that steps took, by group; filled from stores and while running."""

    def __init__(self) -> None:
        self._seconds: dict[tuple[str, ...], tuple[float, int]] = {}
        """Sum and number."""

    def add(self, kind: str, labels: Labels, seconds: float) -> None:
        """Note how long one step took."""
        for key in {group(kind, labels), (kind,)}:
            total, count = self._seconds.get(key, (0.0, 0))
            self._seconds[key] = (total + seconds, count + 1)

    def read(self, store: Path) -> None:
        """Note all finished steps of a store."""
        for result in those_there(result_files(store), read_result):
            if result.provenance.seconds is not None:
                self.add(result.kind, result.labels, result.provenance.seconds)

    def step(self, step: Step) -> float | None:
        """Mean of the step's group, else of its kind; None where none was run.

        Of steps that run together the first has the seconds of all, so a median would say nothing.
        """
        for key in (group(step.kind, step.labels), (step.kind,)):
            if key in self._seconds:
                total, count = self._seconds[key]
                return total / count
        return None

    def planned(self, planned: Planned) -> float | None:
        """The same of a planned step: a shard takes its part of the step's time, and a merge none to speak of."""
        whole = planned.part_of
        if whole is None:
            return 0.0 if planned.merges else self.step(planned.step)
        seen = self.step(planned.step)
        every = self.step(whole.step) if seen is None else None
        return seen if every is None else every / whole.shards

    def total(self, steps: Iterable[Step], forecast: Callable[[Step], float | None] = lambda step: None) -> Estimate:
        """Seconds of all `steps`, one after another; `forecast` is asked for those of kinds that were never run."""
        seconds, predicted, unknown = 0.0, 0.0, 0
        for step in steps:
            seen = self.step(step)
            guessed = forecast(step) if seen is None else None
            unknown += seen is None and guessed is None
            predicted += guessed or 0.0
            seconds += seen or guessed or 0.0
        return Estimate(seconds, unknown, predicted)
