"""At which look a candidate stopped, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from whichbits.schema.early_stopping import EarlyStoppingPlan
from whichbits.verdict.early_stopping.method import EarlyStopping
from whichbits.verdict.early_stopping.methods import method_of
from whichbits.verdict.early_stopping.variances import variances
from whichbits.verdict.findings import ScoredTask
from whichbits.verdict.paired import Paired
from whichbits.verdict.reasons import Looked, Stop
from whichbits.verdict.recovery import Recovery
from whichbits.verdict.verdict import Decision

NOT_COMPARABLE = ("task_missing", "other_weights", "other_arithmetic", "steps_failed", "base_failed", "not_scored")
"""Reasons that more items do not change."""


class Looking:
    """A study's looks at its candidates, and the method for each, by what its items tell."""

    def __init__(self, plan: EarlyStoppingPlan, tasks: Sequence[ScoredTask], *, level: float) -> None:
        self.plan = plan
        self._methods: Mapping[str, EarlyStopping] = {
            name: method_of(plan, level=level, variances=_variances(name, plan, tasks)) for name in plan.reached
        }

    def levels(self) -> Mapping[str, float]:
        """Confidence for which the interval of each candidate's look is computed, by candidate."""
        return {name: self._methods[name].level(look) for name, look in self.plan.reached.items()}

    def looked(self, decision: Decision, kept: Recovery | None, bound: float) -> Looked | None:
        """The look at which a candidate stands; None for the base, and before the first look. `bound` is in %."""
        look = self.plan.reached.get(decision.candidate)
        if look is None or decision.state == "base":
            return None
        method, distance = self._methods[decision.candidate], None if kept is None else kept.distance(bound)
        return Looked(
            stop=self._stop(decision, look, method, distance),
            look=look,
            looks=len(self.plan.looks),
            items=self.plan.looks[look - 1].items,
            all_items=self.plan.looks[-1].items,
            chance_to_decide=None if distance is None else method.chance_to_decide(look, distance),
        )

    def _stop(self, decision: Decision, look: int, method: EarlyStopping, distance: float | None) -> Stop:
        if decision.state in ("non-inferior", "inferior"):
            return "decided"
        if decision.state == "failed" or decision.reason.code in NOT_COMPARABLE:
            return "not_comparable"
        if look == len(self.plan.looks):
            return "all_items"
        if distance is not None and method.futile(look, distance):
            return "futile"
        return "open"

    def p_value(self, candidate: str, p: float) -> float:
        """One-sided p-value that holds for all looks, of the plain one of a candidate's look."""
        look = self.plan.reached.get(candidate)
        return p if look is None else self._methods[candidate].p_value(look, p)

    def items(self, base: str) -> tuple[int, int]:
        """Items that were asked of the base and the candidates together, and that all looks would have asked."""
        reached = {name: look for name, look in self.plan.reached.items() if name != base}
        asked = sum(
            self.plan.looks[look - 1].items for look in (*reached.values(), *([max(reached.values())] if reached else []))
        )
        return asked, self.plan.looks[-1].items * (len(reached) + bool(reached))


def _variances(candidate: str, plan: EarlyStoppingPlan, tasks: Sequence[ScoredTask]) -> dict[str, float] | None:
    """Of a candidate's tasks; None where some are not scored yet, or nothing changed."""
    pairs: dict[str, list[Paired]] = {task: [] for task in plan.most}
    for scored in tasks:
        if scored.candidate == candidate and scored.task in pairs:
            pairs[scored.task].append(scored.pair)
    return variances(pairs) or None if all(pairs.values()) else None
