"""The methods of early stopping, by the names that a specification calls them."""

from __future__ import annotations

from collections.abc import Mapping

from whichbits.schema.early_stopping import EarlyStoppingPlan
from whichbits.verdict.early_stopping.group_sequential import GroupSequential
from whichbits.verdict.early_stopping.method import EarlyStopping
from whichbits.verdict.early_stopping.schedule import information_at

METHODS = {GroupSequential.name: GroupSequential}


def method_of(plan: EarlyStoppingPlan, *, level: float, variances: Mapping[str, float] | None = None) -> EarlyStopping:
    """The method of a study's plan, at the confidence that it states, for a candidate whose tasks have these `variances`.

    Without them it is as planned, with equal ones.
    """
    planned = tuple(look.information for look in plan.looks)
    shares = information_at(plan.looks, plan.most, variances) if variances and len(plan.most) > 1 else planned
    return METHODS[plan.method](shares, level=level, futility=plan.futility)
