"""Why a verdict says what it says: for each reason a code with its numbers. `words/` says them in English."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from whichbits.verdict.estimates import Frozen, Timed


class Failure(Frozen):
    """A step that failed or has not run."""

    kind: str
    labels: dict[str, str]
    state: Literal["failed", "missing"]
    error: str | None
    """What it said."""


class TaskSize(Frozen):
    """How much of a task was scored, or can be."""

    task: str
    items: int
    clusters: int | None = None
    """None where each item stands for itself."""


class TaskNearChance(Frozen):
    """A task on which the base hardly beats guessing."""

    task: str
    above_chance: float
    """Score of the base above chance, on the 0–1 scale of the metric."""


# Of a task, or of a candidate that no task tells from the base.


class NearChance(Frozen):
    """The base scores too little above chance on each of these tasks."""

    code: Literal["base_near_chance"] = "base_near_chance"
    tasks: tuple[TaskNearChance, ...]
    required: float
    """Score above chance that a base needs, on the 0–1 scale."""


class TooFew(Frozen):
    """Too few items, or clusters of them, to tell.

    With `unseen`, the interval of the suite lies on one side of the bound, and what clusters (items) that are not in the sample
    could change does not. Without it, the base itself could be at chance, and there is no interval.
    """

    code: Literal["too_few_items", "too_few_clusters"]
    tasks: tuple[TaskSize, ...]
    """The tasks that have too few."""
    unseen: float | None = None
    """Points of recovery that those not in the sample could change."""
    near_chance: NearChance | None = None
    """The tasks that are left out besides."""


Exclusion = Annotated[NearChance | TooFew, Field(discriminator="code")]
"""Why a task is left out of its suite."""


# Of a decision.


class IsBase(Frozen):
    """What the others are compared with."""

    code: Literal["base"] = "base"


class Bounded(Frozen):
    """Where the interval of the suite's recovery lies: above the bound, below it, or around it."""

    code: Literal["non_inferior", "inferior", "interval_holds_bound"]
    bound: float
    """Recovery, %, that a format must be shown to reach."""


class TaskMissing(Frozen):
    """Tasks of the suite have no result; the decision names them (`missing`)."""

    code: Literal["task_missing"] = "task_missing"


class OtherWeights(Frozen):
    """The server of a candidate, or of the base, does not serve its checkpoint."""

    code: Literal["other_weights"] = "other_weights"
    server: str


class OtherArithmetic(Frozen):
    """The candidate's server computes in a finer type than its checkpoint's and the base's server."""

    code: Literal["other_arithmetic"] = "other_arithmetic"
    server: str


class StepsFailed(Frozen):
    """The candidate's steps failed, and nothing was scored."""

    code: Literal["steps_failed"] = "steps_failed"
    failure: Failure


class BaseFailed(Frozen):
    """The base's steps failed, so there is nothing to compare with."""

    code: Literal["base_failed"] = "base_failed"
    failure: Failure


class NotScored(Frozen):
    """No task was scored for the candidate and the base in one engine."""

    code: Literal["not_scored"] = "not_scored"


DecisionReason = Annotated[
    IsBase
    | Bounded
    | TooFew
    | NearChance
    | TaskMissing
    | OtherWeights
    | OtherArithmetic
    | StepsFailed
    | BaseFailed
    | NotScored,
    Field(discriminator="code"),
]


class Undecidable(Frozen):
    """Why no number of further items settles an inconclusive suite."""

    code: Literal["no_number_suffices", "too_few_clusters", "too_few_items", "difference_too_small"]
    distance: float
    """Points of recovery to the bound."""
    detectable: float | None = None
    """Points that all items there are would detect (80 % power)."""
    tasks: tuple[TaskSize, ...] = ()
    """The tasks that run out, with all items that they have."""
    others_unlimited: bool = False
    """Whether other tasks of the suite never run out of items."""
    clustered: tuple[TaskSize, ...] = ()
    """The tasks whose items come in clusters, with those that were scored."""


# Of a decision in a study that stops where nothing is left to decide.

Stop = Literal["decided", "futile", "all_items", "not_comparable", "open"]
"""Decided; all items would hardly decide it; no items are left; more items change nothing, as a task failed; not stopped."""


class Looked(Frozen):
    """The look at a candidate's results at which it stopped, or stands."""

    stop: Stop
    look: int
    """From 1."""
    looks: int
    items: int
    """That were asked of it by then."""
    all_items: int
    """That the last look has."""
    chance_to_decide: float | None
    """Probability that the last look would decide it, by what this one saw; None where it has no recovery."""


# Of a speed.


class RoundInvalid(Frozen):
    """A round is left out."""

    code: Literal["round_invalid"] = "round_invalid"
    round: int
    """From 1."""
    reason: str | None
    """As the measurement says it."""


class OneRound(Frozen):
    """One round has no interval."""

    code: Literal["one_round"] = "one_round"


class KernelNotProbed(Frozen):
    """No probe says which kernel served the candidate."""

    code: Literal["kernel_not_probed"] = "kernel_not_probed"


class KernelNotNative(Frozen):
    """The candidate was served on another path than a native kernel, whose speed is not the format's."""

    code: Literal["kernel_not_native"] = "kernel_not_native"
    status: str
    kernel: str | None


SpeedProblem = OtherWeights | KernelNotProbed | KernelNotNative
"""Why a candidate's speed must not enter a verdict."""
SpeedReason = Annotated[RoundInvalid | OneRound | SpeedProblem, Field(discriminator="code")]
"""Why a speed is not valid, or what of it was left out."""


# Of the rounds behind a comparison with the base.


class RoundsLeftOut(Frozen):
    """Rounds that are not valid for both."""

    code: Literal["rounds_left_out"] = "rounds_left_out"
    measured: int
    """Rounds in which both were measured."""
    valid: int


class FewRounds(Frozen):
    """One round, and no interval; or so few that it is wide."""

    code: Literal["one_round", "few_rounds"]
    rounds: int


class LimitsNotShown(Frozen):
    """A load may keep the workload's limits: the interval of a percentile holds its limit, or has no upper end."""

    code: Literal["limits_not_shown"] = "limits_not_shown"
    candidate: str
    load: str


class LoadsLeftOut(Frozen):
    """Loads that only one was measured at, or that are valid in fewer rounds than those compared."""

    code: Literal["loads_not_shared", "loads_left_out"]
    loads: tuple[str, ...]
    compared: tuple[str, ...]


class ServerStarts(Frozen):
    """The rounds come from several starts of the servers, some of which have several rounds: how they differ is told apart."""

    code: Literal["server_starts"] = "server_starts"
    rounds: int
    starts: int
    between: float
    """Standard deviation of the ratio from start to start, as a share."""
    within: float
    """The same from round to round within a start."""
    counted: Literal["starts", "rounds"]
    """What the interval takes as independent."""


RoundsNote = Annotated[RoundsLeftOut | FewRounds | LimitsNotShown | LoadsLeftOut | ServerStarts, Field(discriminator="code")]
"""What the reader must know of the rounds that a comparison with the base rests on."""


class AgainstBase(Frozen):
    """Queries per dollar of a candidate over the base's, each at its best load."""

    candidate: str
    ratio: Timed
    load: str
    base_load: str


class WouldWin(Frozen):
    """An inconclusive candidate that would be recommended if it were shown non-inferior."""

    candidate: str
    ratio: Timed
    """Its queries per dollar over those of the recommended one."""
