"""Rounds until speeds are decided: at each look, what is open is measured further, while the budget of time lasts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from whichbits.core.durations import duration
from whichbits.schema.serve import CapacityRun, EarlierRuns, ServeSummary
from whichbits.schema.workload import Loads
from whichbits.studies.planning.planner import Expansion
from whichbits.studies.steps.study import FurtherRound
from whichbits.studies.store.store import Store
from whichbits.studies.study import judged, say
from whichbits.studies.until_decided import plan_after_looks
from whichbits.verdict.looks import OpenSpeed, open_speeds

if TYPE_CHECKING:
    from rich.console import Console

    from whichbits.studies.planning.plan import Plan
    from whichbits.studies.steps.planned import Planned


@dataclass
class MoreRounds:
    """The plan of a study as it stands: its first rounds, and those added since where a speed was open at a look.

    Each round that is added is a run of its own, so that every server in it is started anew: how speeds differ from start to
    start is then in the spread over rounds. All of it follows from what the store holds: a killed run goes on where it was.
    """

    expansion: Expansion
    store: Store
    overrides: Mapping[str, float]
    command: str
    console: Console
    plan: Plan = field(init=False)
    _rounds: int = field(init=False)
    """How many are planned."""
    _open: tuple[OpenSpeed, ...] = field(default=(), init=False)
    """At the last look."""

    def __post_init__(self) -> None:
        self.plan = plan_after_looks(self.expansion)
        self._rounds = self.expansion.specification.rounds

    def next(self) -> Plan | None:
        """The steps of one more round; None where no speed is open, all rounds are measured, or the budget is spent."""
        looks = self.expansion.specification.looks
        if self._rounds == looks[-1] or not self._answered():
            return None
        if self._rounds in looks:
            self._look()
        if not self._open or not self._in_time():
            return None
        self.expansion = self.expansion.with_rounds(self._further())
        self._rounds += 1
        before = {planned.step.key for planned in self.plan.steps}
        self.plan = plan_after_looks(self.expansion)
        return replace(self.plan, steps=tuple(planned for planned in self.plan.steps if planned.step.key not in before))

    def _look(self) -> None:
        here = {workload.name for workload in self.expansion.workloads}
        verdict = judged(self.expansion, self.plan, self.store, self.overrides, self.command)
        self._open = tuple(one for one in open_speeds(verdict) if one.workload in here)
        if self._open:
            where = "; ".join(f"{one.workload}, {one.about}: {', '.join(one.candidates)}" for one in self._open)
            say(f"Open after {self._rounds} rounds: {where}. Measured further.", console=self.console)

    def _further(self) -> list[FurtherRound]:
        """One for each workload and candidate that is open somewhere, at all the loads that this depends on."""
        found: dict[tuple[str, str], Loads] = {}
        for one in self._open:
            for name in one.candidates:
                found[one.workload, name] = found.get((one.workload, name), Loads()) | one.loads
        return [
            FurtherRound(self._rounds, workload, name, loads, self._runs(workload, name) if loads.capacity else None)
            for (workload, name), loads in found.items()
        ]

    def _runs(self, workload: str, candidate: str) -> EarlierRuns:
        """The runs so far that looked for the capacity of a workload, of the candidate and of the base."""
        base = self.expansion.base
        seen: dict[str, dict[CapacityRun, None]] = {base: {}, candidate: {}}
        for planned in self._measured():
            record = self.store.record(planned.step)
            if record.labels.workload == workload and isinstance(record.summary, ServeSummary):
                measured = {base: record.summary.base_load_levels, record.labels.candidate: record.summary.load_levels}
                for name in seen.keys() & measured.keys():
                    runs = (level.capacity_run for level in measured[name])
                    seen[name] |= dict.fromkeys(run for run in runs if run is not None)
        return EarlierRuns(candidate=tuple(seen[candidate]), base=tuple(seen[base]))

    def _in_time(self) -> bool:
        """Whether another round would end within the budget, if it took as long as the last."""
        budget = self.expansion.specification.speed_budget
        if budget is None:
            return True
        spent = self._seconds(self._measured())
        within = spent + self._seconds(self._last()) <= budget
        if not within:
            said = f"{duration(spent)} of {duration(budget)} are spent on {self._rounds} rounds of speeds: no more are begun."
            say(said, console=self.console)
        return within

    def _answered(self) -> bool:
        """Whether any step of the last round has a result."""
        return any(self.store.done(planned.step) for planned in self._last())

    def _measured(self) -> list[Planned]:
        """The steps that measure speeds, and not those that read what another tool measured."""
        return [planned for planned in self.plan.steps if planned.step.kind == "serve" and planned.needs.alone]

    def _last(self) -> list[Planned]:
        return [planned for planned in self._measured() if planned.step.labels.repeat == self._rounds - 1]

    def _seconds(self, steps: Iterable[Planned]) -> float:
        """How long steps took that have a result, servers' starts included."""
        records = (self.store.record(planned.step) for planned in steps)
        return sum(record.provenance.seconds or 0.0 for record in records if record.state == "done")
