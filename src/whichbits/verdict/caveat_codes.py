"""What a reader must know before trusting a verdict: each caveat as a code with its numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from whichbits.verdict.estimates import Estimate, Frozen, Mode
from whichbits.verdict.reasons import Exclusion, RoundsNote


class Remark(Frozen):
    """Of the model, a checkpoint, an engine or a price, in the words of the package that knows it."""

    code: Literal["remark"] = "remark"
    text: str


class TaskExcluded(Frozen):
    """A task is left out of the suite."""

    code: Literal["task_excluded"] = "task_excluded"
    task: str
    why: Exclusion


class TaskInsensitive(Frozen):
    """A task stays in the suite and says little of this base: a ceiling or floor effect."""

    code: Literal["task_insensitive"] = "task_insensitive"
    task: str
    reason: str
    """As the evaluation says it."""


class ServerOfOtherWeights(Frozen):
    """A server's log-probabilities, nats a token, are farther from the checkpoint's than rounding explains."""

    code: Literal["other_weights"] = "other_weights"
    candidate: str
    distance: float
    limit: float


class ServerOfOtherArithmetic(Frozen):
    """A server computes its checkpoint in a finer type than the checkpoint's, or a coarser one."""

    code: Literal["other_arithmetic"] = "other_arithmetic"
    candidate: str
    differs: Literal["finer", "coarser"]
    from_float32: float
    """Root mean square, nats a token."""
    rounding: float
    """The same of the checkpoint's own arithmetic."""


class WeightsNotCompared(Frozen):
    """Whether a server serves its checkpoint is not known."""

    code: Literal["weights_not_compared"] = "weights_not_compared"
    candidate: str
    reason: str
    """As the comparison says it."""


class ImplausibleLoss(Frozen):
    """A candidate lost more than the bits of its weights explain."""

    code: Literal["implausible_loss"] = "implausible_loss"
    candidate: str
    weight_bits: int
    recovery: Estimate
    floor: float
    """Recovery, %, that weights of so many bits keep."""


class IdenticalScores(Frozen):
    """Every single score equals the base's."""

    code: Literal["identical_scores"] = "identical_scores"
    candidate: str
    items: int


class WithinNoise(Frozen):
    """A candidate changes no more items than the base does from run to run."""

    code: Literal["within_noise"] = "within_noise"
    candidate: str
    flips: float
    """Share of the items of `tasks` that it changes."""
    noise_floor_flips: float
    """Share that the base changes."""
    tasks: tuple[str, ...]
    """The tasks on which the base was run twice."""
    whole_suite: bool
    """Whether those are all tasks of the suite."""


class FamilyWise(Frozen):
    """Candidates whose claim would fall if the claims on all were to hold at once (Holm)."""

    code: Literal["family_wise"] = "family_wise"
    candidates: tuple[str, ...]
    family: int
    """Claims."""
    level: float


class EmulatedAccuracy(Frozen):
    """Candidates that are decided on by emulation."""

    code: Literal["emulated_accuracy"] = "emulated_accuracy"
    candidates: tuple[str, ...]


class EmulationDiffers(Frozen):
    """The largest difference, emulated score − served score, of what ran both ways, on the 0–1 scale of the metric."""

    code: Literal["emulation_differs"] = "emulation_differs"
    candidate: str
    task: str
    difference: Estimate


class KernelsUnknown(Frozen):
    """Candidates at addresses that the user gave, or whose speed another tool measured."""

    code: Literal["kernels_unknown"] = "kernels_unknown"
    candidates: tuple[str, ...]


class OutlyingRound(Frozen):
    """A valid round whose throughput is far from that of all others of its load; it is counted."""

    code: Literal["outlying_round"] = "outlying_round"
    candidate: str
    workload: str
    load: str
    round: int
    """From 1."""
    ratio: float
    """Its requests per second over the others' median."""


class InvalidRound(Frozen):
    """A round at one load that is left out."""

    code: Literal["invalid_round"] = "invalid_round"
    candidate: str
    workload: str
    load: str
    round: int
    """From 1."""
    reasons: tuple[str, ...]
    """As the measurement says them."""


class Rounds(Frozen):
    """A note on the rounds that a candidate's comparison with the base rests on."""

    code: Literal["rounds"] = "rounds"
    candidate: str
    workload: str
    mode: Mode
    note: RoundsNote


class PromptsShared(Frozen):
    """Prompts begin alike on purpose, so that speeds are those with the server's prefix cache."""

    code: Literal["prompts_shared"] = "prompts_shared"
    workload: str
    shared: float
    """Share of the prompts' tokens that a prompt before them has too."""
    cached: Mapping[str, float]
    """Share that came from the cache, by candidate, on average over loads and rounds; none where servers do not say."""


class BeyondClient(Frozen):
    """A load brought more tokens than the load client can read."""

    code: Literal["beyond_client"] = "beyond_client"
    candidate: str
    workload: str
    load: str
    share: float
    """Tokens that came each second over those that it can read, at most over the rounds."""


class MeasuredOtherwise(Frozen):
    """Servers that do not take the usual requests, and what was measured instead."""

    code: Literal["measured_otherwise"] = "measured_otherwise"
    candidates: tuple[str, ...]
    instead: tuple[str, ...]
    """What each of them cannot do, with what is done in its place."""


class StillRising(Frozen):
    """Candidates that did best at the largest load measured."""

    code: Literal["still_rising"] = "still_rising"
    workload: str
    candidates: tuple[str, ...]


class StatedLimit(Frozen):
    """A limit of a workload."""

    metric: str
    percentile: float
    seconds: float


class LimitsNotKept(Frozen):
    """Every load of every candidate is shown to miss a limit of the workload."""

    code: Literal["limits_not_kept"] = "limits_not_kept"
    workload: str
    deployment: str
    limits: tuple[StatedLimit, ...]


class OneStart(Frozen):
    """All rounds of every candidate of a workload are of one start of its server: no interval holds what another would give."""

    code: Literal["one_start"] = "one_start"
    workloads: tuple[str, ...]


class SeveralLooks(Frozen):
    """Speeds were looked at after so many rounds, and again after more where a comparison was open."""

    code: Literal["several_looks"] = "several_looks"
    rounds: tuple[int, ...]
    level: float
    """Confidence of the intervals of all looks together."""


class StoppedEarly(Frozen):
    """Results were looked at while they came in, and a candidate's evaluation stopped where nothing was left to decide."""

    code: Literal["stopped_early"] = "stopped_early"
    method: str
    looks: int
    items: int
    """Asked of the base and the candidates together."""
    all_items: int
    """That all looks would have asked of them."""
    candidates: int
    level: float
    """Confidence of each candidate's intervals, of all looks together."""


SpeedCaveat = (
    KernelsUnknown
    | InvalidRound
    | OutlyingRound
    | Rounds
    | PromptsShared
    | BeyondClient
    | MeasuredOtherwise
    | StillRising
    | LimitsNotKept
    | OneStart
    | SeveralLooks
)
"""Of how speeds were measured."""

Caveat = Annotated[
    Remark
    | TaskExcluded
    | TaskInsensitive
    | ServerOfOtherWeights
    | ServerOfOtherArithmetic
    | WeightsNotCompared
    | ImplausibleLoss
    | IdenticalScores
    | WithinNoise
    | FamilyWise
    | EmulatedAccuracy
    | EmulationDiffers
    | SpeedCaveat
    | StoppedEarly,
    Field(discriminator="code"),
]
