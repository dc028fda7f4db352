"""Why a candidate is non-inferior, inferior or inconclusive, what is needed to decide, and why a task is left out, in words."""

from __future__ import annotations

import math
from collections.abc import Iterator

from whichbits.verdict.estimates import POWER
from whichbits.verdict.reasons import (
    BaseFailed,
    Bounded,
    Exclusion,
    Failure,
    IsBase,
    Looked,
    NearChance,
    NotScored,
    OtherArithmetic,
    OtherWeights,
    StepsFailed,
    TaskMissing,
    TooFew,
    Undecidable,
)
from whichbits.verdict.verdict import Decision, Extension
from whichbits.verdict.words.numbers import listing, percent, plural

NAMED = 3
"""So many tasks are listed by name; of more, the sum is given."""


def failure(found: Failure) -> str:
    """A step that gave no result, in one line."""
    labels = ", ".join(f"{name} {value}" for name, value in found.labels.items())
    cause = found.error or ("has not run" if found.state == "missing" else "failed without a message")
    return f"{found.kind} ({labels}): {' '.join(cause.split())}"


def excluded(why: Exclusion) -> str:
    """Why one task is left out of its suite."""
    if isinstance(why, NearChance):
        return _near_chance(why.tasks[0].above_chance, why.required)
    if why.code == "too_few_clusters":
        counts = ", ".join(f"{size.clusters:,} in {size.task}" for size in why.tasks)
        return f"too few clusters ({counts}): the base itself could be at chance"
    return f"too few items ({sum(size.items for size in why.tasks):,}): the base itself could be at chance"


def _near_chance(above: float, required: float) -> str:
    return f"the base scores {100 * above:.1f} points above chance, less than {100 * required:.0f}"


def decision_reason(decision: Decision, margin: float) -> str:
    """Why a candidate is what it is."""
    reason = decision.reason
    match reason:
        case IsBase():
            return "what the others are compared with"
        case StepsFailed():
            return failure(reason.failure)
        case BaseFailed():
            return f"the base has no result to compare with: {failure(reason.failure)}"
        case NotScored():
            return "no task has been scored for it and the base in one engine"
        case NearChance() | TooFew(unseen=None):
            return f"no task tells it from the base ({'; '.join(_untold(reason))})"
    suite = decision.suite
    assert suite is not None, "every other reason speaks of a suite"
    bound = 100 * (1 - margin)
    how = " in emulation" if suite.provenance == "emulated" else ""
    kept = f"keeps {percent(suite.recovery, bound)} of the base's score above chance{how}"
    match reason:
        case OtherWeights():
            return f"{kept}, but the server of {reason.server} does not serve its weights"
        case OtherArithmetic():
            return f"{kept}, but its server computes in a finer type than the base's"
        case TaskMissing():
            verb = "is" if len(decision.missing) == 1 else "are"
            return f"{kept}, but {listing(decision.missing)} {verb} missing from its suite"
        case Bounded(code="interval_holds_bound"):
            where = f": the interval holds the {bound:g} % that the margin asks for"
        case Bounded():
            side = "above" if reason.code == "non_inferior" else "below"
            where = f", all of it {side} the {bound:g} % that the margin asks for"
        case TooFew():
            where = (
                f", but {_units(reason)} are too few to tell it from the {bound:g} % that the margin asks for: others, not "
                f"among them, could change it by {reason.unseen:.2g} points"
            )
    cannot = f"; {_undecidable(decision.undecidable)}" if decision.undecidable else ""
    stopped = f"; {looked(decision.looked)}" if decision.looked else ""
    return f"{kept}{where}, on {plural(suite.items, 'item')} of {plural(len(suite.tasks), 'task')}{stopped}{cannot}"


def looked(found: Looked) -> str:
    """At which look an evaluation stopped, why, and what that saved."""
    where = f"at look {found.look} of {found.looks}"
    saved = f"{found.items:,} of {found.all_items:,} items, {1 - found.items / found.all_items:.0%} saved"
    chance = "" if found.chance_to_decide is None else f" (a chance of {found.chance_to_decide:.1%})"
    match found.stop:
        case "decided" if found.look == found.looks:
            return f"decided at the last of {found.looks} looks, with all {found.all_items:,} items"
        case "decided":
            return f"decided {where} ({saved})"
        case "futile":
            return f"given up {where} ({saved}), since the items that there are would hardly decide it{chance}"
        case "all_items":
            return f"not decided at the last of {found.looks} looks, with all {found.all_items:,} items"
        case "not_comparable":
            return f"stopped {where} ({saved}), since more items would not make it comparable"
        case "open":
            return f"open {where} ({found.items:,} of {found.all_items:,} items)"


def _untold(reason: NearChance | TooFew) -> Iterator[str]:
    """Why each task of a candidate without a suite tells nothing."""
    at_chance = reason if isinstance(reason, NearChance) else reason.near_chance
    if at_chance is not None and len(at_chance.tasks) > NAMED:
        required = f"less than {100 * at_chance.required:.0f} points above chance"
        yield f"on each of {len(at_chance.tasks)} tasks the base scores {required}"
    elif at_chance is not None:
        yield from (f"{task.task}: {_near_chance(task.above_chance, at_chance.required)}" for task in at_chance.tasks)
    if isinstance(reason, TooFew):
        yield excluded(reason)


def _units(reason: TooFew) -> str:
    """What a suite has too few of."""
    if reason.code == "too_few_items":
        return plural(sum(size.items for size in reason.tasks), "item")
    if len(reason.tasks) > NAMED:
        return f"{plural(sum(size.clusters or 0 for size in reason.tasks), 'cluster')} of {len(reason.tasks)} tasks"
    return listing([f"{plural(size.clusters or 0, 'cluster')} of {size.task}" for size in reason.tasks])


def needed_to_decide(decision: Decision) -> str | None:
    """What would settle an inconclusive candidate; None where nothing is known to."""
    if decision.state != "inconclusive":
        return None
    reason = decision.reason
    match reason:
        case OtherWeights():
            return f"the checkpoint of {reason.server} at its address"
        case OtherArithmetic():
            return "servers that compute in one type (--dtype)"
        case TaskMissing():
            return f"a result of {listing(decision.missing)}"
        case NearChance():
            return "tasks on which the base beats guessing"
        case TooFew(unseen=None):
            what = "clusters" if reason.code == "too_few_clusters" else "items"
            return f"more {what} of {listing([size.task for size in reason.tasks])}"
        case BaseFailed():
            return "a run of the base"
        case NotScored():
            return "a run of the study's tasks"
    if decision.extension is None or decision.suite is None:
        return None
    return _more(decision.extension, decision.suite.recovery.value)


def _more(found: Extension, value: float) -> str:
    count = f"about {_round_up(found.items):,} more items"
    if found.clusters is not None:
        count = f"about {_round_up(found.clusters):,} more clusters (of {_round_up(found.items):,} items)"
    condition = f"({100 * POWER:.0f} % power, if the recovery stays at {value:.1f} %)"
    if len(found.tasks) == 1 and not found.ended:
        return f"{count} of {found.tasks[0]} {condition}"
    ends = [f"all {most:,} items of {task}" for task, most in found.ended]
    if not found.tasks:
        return f"{count}: {listing(ends)} {condition}"
    return f"{count}, in proportion of {', '.join(found.tasks)}{f', with {listing(ends)}' if ends else ''} {condition}"


def _round_up(count: int) -> int:
    """`count` rounded up to two significant digits."""
    unit = int(10 ** max(0, len(str(count)) - 2))
    return math.ceil(count / unit) * unit


def _undecidable(found: Undecidable) -> str:
    away = f"{found.distance:.2g} points"
    if found.code == "no_number_suffices":
        return f"no number of items can tell a recovery from a bound that is {away} away"
    names = listing([f"{size.task}'s {size.items:,} items" for size in found.tasks])
    if len(found.tasks) > NAMED:
        names = f"the {sum(size.items for size in found.tasks):,} items of {len(found.tasks)} tasks"
    rest = ", however many there are of the others" if found.others_unlimited else ""
    if found.code == "difference_too_small":
        return f"{names} cannot decide it{rest}: they detect {found.detectable:.2g} points, and the bound is {away} away"
    lacking = "items"
    if found.code == "too_few_clusters":
        lacking = f"clusters ({listing([f'{size.clusters:,} of {size.task}' for size in found.clustered])})"
    return f"{names} cannot decide it{rest}, for want of {lacking}"
