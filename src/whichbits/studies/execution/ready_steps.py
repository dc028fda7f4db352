"""Steps that have not begun, by what they wait for: each end of a step costs what it makes ready, however many others wait."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from whichbits.schema.step import Step
from whichbits.studies.planning.stages import Process
from whichbits.studies.steps.planned import Planned


@dataclass
class _Entry:
    planned: Planned
    number: int
    """Its place in the plan."""
    missing: set[str]
    """Keys of what it reads that has not ended."""


class ReadySteps:
    """Steps that begin once everything that they read has ended, well or badly.

    What measures speed also waits until nothing else waits or runs. Ready steps of one process begin together.
    """

    def __init__(self, process_of: Callable[[Planned], tuple[str, str] | None], turn: Callable[[Planned], float]) -> None:
        """`process_of` as in `planning.stages`; the smallest `turn` begins first, of equal ones the first in the plan."""
        self._process_of = process_of
        self._turn = turn
        self._entries: dict[str, _Entry] = {}
        """By key, in the order of the plan."""
        self._readers: dict[str, list[str]] = {}
        """Keys of what waits for a step, by the step's."""
        self._together: dict[tuple[str, str], list[str]] = {}
        """Keys of ready steps, by process."""
        self._others: list[tuple[float, int, str]] = []
        """Heap of ready steps' keys; some may have begun with others of their process since."""
        self._alone: list[tuple[float, int, str]] = []
        """The same of those that measure speed."""
        self._count = 0
        self._left = 0
        """Steps that wait and measure no speed."""

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, steps: Iterable[Planned]) -> None:
        """Have further steps wait. What they read that does not wait has ended."""
        new = {planned.step.key: planned for planned in steps}
        for key, planned in new.items():
            missing = {step.key for step in planned.reads.values() if step.key in new or step.key in self._entries}
            self._entries[key] = entry = _Entry(planned, self._count, missing)
            self._count += 1
            self._left += not planned.needs.alone
            for one in missing:
                self._readers.setdefault(one, []).append(key)
            if not missing:
                self._make_ready(entry)

    def ended(self, step: Step) -> None:
        """Have what waited for the step wait for it no more."""
        for key in self._readers.pop(step.key, ()):
            entry = self._entries[key]
            entry.missing.remove(step.key)
            if not entry.missing:
                self._make_ready(entry)

    def take(self, *, idle: bool) -> Process:
        """Steps that begin now, in one process; none where none is ready. `idle` says that nothing runs."""
        return self._first(self._others) or (self._first(self._alone) if idle and not self._left else ())

    def _make_ready(self, entry: _Entry) -> None:
        planned = entry.planned
        if (process := self._process_of(planned)) is not None:
            self._together.setdefault(process, []).append(planned.step.key)
        heap = self._alone if planned.needs.alone else self._others
        heapq.heappush(heap, (self._turn(planned), entry.number, planned.step.key))

    def _first(self, heap: list[tuple[float, int, str]]) -> Process:
        while heap:
            _, _, key = heapq.heappop(heap)
            if key in self._entries:
                process = self._process_of(self._entries[key].planned)
                keys = [key] if process is None else self._together.pop(process)
                begun = sorted((self._entries.pop(one) for one in keys), key=lambda entry: entry.number)
                self._left -= sum(not entry.planned.needs.alone for entry in begun)
                return tuple(entry.planned for entry in begun)
        return ()
