"""What a study would do: its steps, which of them are done, and how long the others will take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from whichbits.core.durations import duration
from whichbits.core.errors import UserError
from whichbits.studies.planning.estimate import Durations, Estimate
from whichbits.studies.steps.forecast import SERVER_START_S
from whichbits.studies.store.store import Store

if TYPE_CHECKING:
    from whichbits.schema.step import Step
    from whichbits.studies.planning.plan import Plan
    from whichbits.studies.planning.planner import Expansion


@dataclass(frozen=True)
class PreviewRow:
    """A step of a plan."""

    step: str
    key: str
    """Its first twelve digits."""
    done: str
    """`yes` where the store has its result."""
    time: str
    """How long it will take; nothing where it is done."""


@dataclass(frozen=True)
class Preview:
    """What a study would do."""

    rows: list[PreviewRow]
    text: str


def preview(expansion: Expansion, store: Store, overrides: Mapping[str, float]) -> Preview:
    """The steps of a plan, which are done, and how long the others will take by what the store has seen, else predicted."""
    from whichbits.studies.conclusion import priced_deployment
    from whichbits.studies.execution.progress import name
    from whichbits.studies.forecast import forecast
    from whichbits.studies.planning.judging import judging_lines

    silent = _refusal(expansion)
    try:
        _ = expansion.servers
    except UserError as error:
        expansion = replace(expansion, ask_servers=False)
        silent += f" A run would be refused: {error.message}. Nothing that a server by address has given counts as done here."
    plan = expansion.plan()
    durations = Durations()
    durations.read(store.folder)
    seconds = forecast(expansion)
    missing = [planned.step for planned in plan.missing(store)]
    forecasts = {step.key: seconds(step) for step in missing if durations.step(step) is None}

    def predicted(step: Step) -> float | None:
        return forecasts[step.key]

    rows = []
    for planned in plan.steps:
        expected = "" if store.done(planned.step) else _length(durations.total([planned.step], predicted))
        rows.append(PreviewRow(name(planned.step), planned.step.key[:12], "" if expected else "yes", expected))
    starts = len(_servers_to_start(plan, store))
    left = durations.total(missing, predicted).and_predicted(starts * SERVER_START_S)
    deployment = expansion.specification.deployment
    price = priced_deployment(
        deployment.hardware, deployment.count, deployment.price_per_hour, expansion.specification.prices, overrides
    ).price_per_hour
    undecided = ""
    if not expansion.statuses and expansion.probes().steps:
        undecided = " Candidates with `run: auto` or `auto-both` are shown as served."
    said = "".join(f" {line}" for line in (*expansion.left_out, *judging_lines(missing)))
    count = f"{len(missing)} of {len(plan.steps)} steps to run.{said}"
    more = _places(expansion) + _more_rounds(expansion)
    started = f", with {starts} start{'s' * (starts > 1)} of servers" if starts else ""
    return Preview(rows, f"{count} Time: {left}{started}. Cost: {_dollars(left, price)}.{more}{undecided}{silent}")


def _places(expansion: Expansion) -> str:
    """What the hours of a study say that runs elsewhere."""
    name = expansion.specification.executor.name
    if name == "local":
        return ""
    return f" Hours are those of one machine: how many the executor {name} has is known once it is connected."


def _servers_to_start(plan: Plan, store: Store) -> set[str]:
    """Candidates whose servers steps that are missing will ask, and that serve at no address yet."""
    asked = {name for planned in plan.missing(store) for name in planned.needs.servers}
    return {name for name in asked if name in plan.served and plan.served[name].url is None}


def _more_rounds(expansion: Expansion) -> str:
    """Rounds that are not among the steps, since what is measured decides whether they are needed."""
    looks = expansion.specification.looks
    if len(looks) == 1 or not expansion.workloads:
        return ""
    budget = expansion.specification.speed_budget
    ended = "" if budget is None else f" while {duration(budget)} last"
    return f" Speeds that are open after {looks[0]} rounds are measured in up to {looks[-1]}{ended}, which is not counted."


def _refusal(expansion: Expansion) -> str:
    """Why a run on this machine would be refused, or what it would have to say of the hardware."""
    try:
        return "".join(f" {caveat}" for caveat in expansion.deployment_caveats)
    except UserError as error:
        return f" A run on this machine would be refused: {error.message}."


def _length(one: Estimate) -> str:
    return "unknown" if one.unknown else str(one)


def _dollars(left: Estimate, price: float | None) -> str:
    """What the time left costs, as far as it is known."""
    if price is None or (left.unknown and not left.seconds):
        return "unknown"
    known = f"${left.seconds / 3600 * price:.2f}"
    return f"{known} and that of {left.unknown} steps of unknown length" if left.unknown else known
