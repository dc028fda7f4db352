"""The methods of early stopping, by the names that a specification calls them."""

from __future__ import annotations

from whichbits.schema.early_stopping import EarlyStoppingPlan
from whichbits.verdict.early_stopping.group_sequential import GroupSequential
from whichbits.verdict.early_stopping.method import EarlyStopping

METHODS = {GroupSequential.name: GroupSequential}


def method_of(plan: EarlyStoppingPlan, *, level: float) -> EarlyStopping:
    """The method of a study's plan, at the confidence that it states."""
    return METHODS[plan.method]([look.information for look in plan.looks], level=level, futility=plan.futility)
