"""Accuracy looked at while it comes in: every candidate is evaluated until it is decided, and the base until all are.

The base answers a few items of each task first, which says how many there are. Then come looks at equal items of every task,
all in one random order: what is missing of them is evaluated, the study is judged, and candidates that are decided, or that all
items would hardly decide, go no further. All of it follows from what the store holds: a killed run goes on where it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from whichbits.core.errors import UserError
from whichbits.schema.early_stopping import EarlyStoppingPlan
from whichbits.schema.evaluate import EvaluateSummary
from whichbits.studies.planning.planner import Expansion
from whichbits.studies.store.store import Store
from whichbits.studies.study import judged, run, say

if TYPE_CHECKING:
    from rich.console import Console

    from whichbits.studies.planning.plan import Plan
    from whichbits.studies.steps.planned import Planned


def run_looks(
    expansion: Expansion,
    store: Store,
    overrides: Mapping[str, float],
    command: str,
    *,
    quiet: bool = False,
    console: Console | None = None,
) -> tuple[Expansion, list[str]]:
    """Evaluate until nothing is left to decide; the study with as many items of each candidate, and the keys of failed steps.

    All looks are one run: servers that are needed again stay up between them.
    """
    from rich.console import Console as RichConsole

    shown = console or RichConsole(quiet=quiet)
    looks = _Looks(expansion, store, overrides, command, shown)
    states = run(looks.opening(), expansion, store, more=looks.next, console=shown)
    return looks.expansion, [key for key, state in states.items() if state == "failed"]


def plan_after_looks(expansion: Expansion) -> Plan:
    """What is left to do after the looks: all steps, but no candidate is evaluated where the base could not be."""
    plan = expansion.plan()
    if expansion.specification.decide is None or expansion.early_stopping is not None or not expansion.specification.tasks:
        return plan
    left = tuple(one for one in plan.steps if one.step.kind != "evaluate" or one.step.labels.candidate == expansion.base)
    return replace(plan, steps=left)


def items_there_are(expansion: Expansion, plan: Plan, store: Store) -> dict[str, int] | None:
    """Items of each task for the study, as the base's first ones have told, or as stated; None where neither says."""
    found: dict[str, int] = {}
    told = {str(one.step.labels.task): store.record(one.step) for one in _of_base(plan, expansion.base)}
    for task, choice in expansion.tasks:
        summary = told[task.name].summary if task.name in told else None
        there = summary.available if task.items is None and isinstance(summary, EvaluateSummary) else task.items
        stated = [count for count in (there, choice.limit) if count is not None]
        if there is None and choice.limit is None:
            return None
        found[task.name] = min(stated)
    return found or None


def check_decide(expansion: Expansion) -> None:
    """Raise UserError where there is nothing to decide by, or a budget that does not pay for an item of each task."""
    decide, tasks = expansion.specification.decide, expansion.tasks
    if decide is None:
        return
    if not tasks:
        raise UserError(
            "decide: the study has no tasks, so nothing is evaluated until it is decided",
            remedy="name tasks, or leave out decide and --until-decided",
        )
    if decide.budget is not None and decide.budget < len(tasks):
        error = UserError(
            f"{decide.budget} items of all tasks together do not pay for one item of each of {len(tasks)} tasks",
            remedy=f"say {len(tasks)} at least; to decide anything, thousands",
        )
        raise expansion.source.placed(("decide", "budget"), error)


def early_stopping_plan(expansion: Expansion, most: Mapping[str, int]) -> EarlyStoppingPlan:
    """The looks of a study whose tasks have so many items."""
    from whichbits.verdict.early_stopping.schedule import looks

    decide = expansion.specification.decide
    assert decide is not None, "only a study that stops where nothing is left to decide has looks"
    return EarlyStoppingPlan(
        method=decide.method,
        futility=decide.futility,
        looks=looks(most, decide.looks, budget=decide.budget),
        most=most,
    )


def most_planned(expansion: Expansion, store: Store) -> tuple[Expansion, str]:
    """The study with all items that it may come to, as far as they are known, and in words how many that is."""
    from whichbits.verdict.early_stopping.expected import expected_share

    most = items_there_are(expansion, expansion.plan(), store)
    if most is None:
        return expansion, "Each candidate is evaluated until it is decided; how many items there are, the first ones will tell."
    plan = early_stopping_plan(expansion, most)
    items = plan.looks[-1].items
    share = expected_share(plan)
    return expansion.at(plan), (
        f"That is the most: each candidate is evaluated until it is decided, at up to {len(plan.looks)} looks, with at most "
        f"{items:,} items. About {share * items:,.0f} ({share:.0%}) are expected of one whose recovery is at the margin, fewer "
        "where it is clear."
    )


def _evaluations(plan: Plan) -> list[Planned]:
    """The steps that decide: the first run of each candidate on each task."""
    return [one for one in plan.steps if one.step.kind == "evaluate" and one.step.labels.repeat == 0]


def _of_base(plan: Plan, base: str) -> list[Planned]:
    return [one for one in _evaluations(plan) if one.step.labels.candidate == base]


def _with_what_they_read(plan: Plan, chosen: list[Planned]) -> Plan:
    """The part of a plan that these steps need."""
    keys = {one.step.key for one in chosen}
    for one in reversed(plan.steps):
        if one.step.key in keys:
            keys |= {step.key for step in one.reads.values()}
    return replace(plan, steps=tuple(one for one in plan.steps if one.step.key in keys))


@dataclass
class _Looks:
    """The looks of one run, one after another."""

    expansion: Expansion
    store: Store
    overrides: Mapping[str, float]
    command: str
    console: Console
    _steps: Plan = field(init=False)
    """Of the study as it stands."""
    _active: set[str] = field(default_factory=set)
    _look: int = 0

    def opening(self) -> Plan:
        """The base's first items."""
        self._steps = self.expansion.plan()
        return _with_what_they_read(self._steps, _of_base(self._steps, self.expansion.base))

    def next(self) -> Plan | None:
        """What is evaluated for the next look; None where nothing is left to decide."""
        if self.expansion.early_stopping is None:
            told = [self.store.record(one.step) for one in _of_base(self._steps, self.expansion.base)]
            most = items_there_are(self.expansion, self._steps, self.store)
            if most is None or any(record.state != "done" for record in told):
                return None  # the base has failed: there is nothing to compare with
            self.expansion = self.expansion.at(early_stopping_plan(self.expansion, most))
            self._active = {one.name for one in self.expansion.subjects if one.name != self.expansion.base}
        else:
            self._judge()
        return self._look_again() if self._active else None

    def _look_again(self) -> Plan:
        plan = self.expansion.early_stopping
        assert plan is not None, "there are looks"
        self._look += 1
        reached = {**plan.reached, **dict.fromkeys((*self._active, self.expansion.base), self._look)}
        self.expansion = self.expansion.at(plan.model_copy(update={"reached": reached}))
        self._steps = self.expansion.plan()
        going_on = {*self._active, self.expansion.base}
        chosen = [one for one in _evaluations(self._steps) if one.step.labels.candidate in going_on]
        return _with_what_they_read(self._steps, chosen)

    def _judge(self) -> None:
        """Find who is decided, and say so."""
        from whichbits.verdict.words.decisions import looked

        verdict = judged(self.expansion, self._steps, self.store, self.overrides, self.command)
        before, self._active = self._active, set()
        for decision in verdict.formats:
            if decision.candidate in before and decision.looked is not None:
                if decision.looked.stop == "open":
                    self._active.add(decision.candidate)
                else:
                    said = f"{decision.candidate} is {decision.state}: {looked(decision.looked)}."
                    say(said, console=self.console)
