"""The verdict as data: what `verdict.json` holds and what the report reads.

Every finding names the steps (`steps`, full keys) that it was computed from.
"""

from __future__ import annotations

from typing import Literal

from whichbits.schema.metrics import Measure, ServingMetric
from whichbits.schema.serve import ClientCeiling
from whichbits.schema.served_weights import Agreement
from whichbits.verdict.caveat_codes import Caveat, ImplausibleLoss
from whichbits.verdict.estimates import Estimate, Frozen, Mode, Provenance, Timed
from whichbits.verdict.judged_finding import JudgedFinding
from whichbits.verdict.phases import ArrivalsFinding, BatchFinding, Crossover, FootprintFinding, LatencyParts, NaturalFinding
from whichbits.verdict.reasons import (
    AgainstBase,
    DecisionReason,
    Exclusion,
    Failure,
    Looked,
    RoundsNote,
    SpeedReason,
    Undecidable,
    WouldWin,
)

State = Literal["base", "non-inferior", "inferior", "inconclusive", "failed"]
RecommendationCode = Literal[
    "fastest", "more_accurate_of_equals", "base_outside_limits", "base_inconclusive", "base_faster", "base_one_round",
    "base_without_rival", "base_below_target_rate",
]  # fmt: skip
Reaches = Literal["yes", "no", "open"]
RefusalCode = Literal[
    "base_not_measured", "base_not_valid", "base_other_weights", "nothing_compared", "limits_not_kept", "limits_not_shown",
    "target_rate_not_reached",
]  # fmt: skip


class CapacityFinding(Frozen):
    """The highest rate of arrivals at which a workload's limits hold."""

    candidate: str
    workload: str
    deployment: str
    rate: float
    """Requests per second."""
    low: float
    """0 where every run missed a limit."""
    high: float | None
    """None where no run did."""
    over_base: Estimate | None
    """Over the base's; None for the base, and where an interval has no end."""
    target_rate: float | None = None
    """Arrivals per second that are to be served, where the workload says so."""
    runs: int
    valid: bool = True
    """False where the candidate's speed must not enter a verdict."""
    steps: tuple[str, ...]

    @property
    def reaches(self) -> Reaches | None:
        """Whether it is shown to reach the target; None where there is none."""
        if self.target_rate is None:
            return None
        if self.high is not None and self.high < self.target_rate:
            return "no"
        return "yes" if self.low >= self.target_rate else "open"


class TaskRecovery(Frozen):
    """What a candidate keeps of the base on one task, item by item."""

    candidate: str
    task: str
    mode: str | None = None
    """Of thinking, in which the task was asked; its name says it too: `humaneval_chat (slow)`."""
    engine: str
    provenance: Provenance
    items: int
    chance: float
    base_score: float
    score: float
    difference: Estimate
    """score − base score, paired, on the 0–1 scale of the metric."""
    recovery: Estimate | None
    """100 · (score − chance) / (base − chance), %; None where the task is excluded."""
    excluded: Exclusion | None
    """Why no recovery is given, and the task is left out of the suite."""
    flips: float
    """Share of items whose correctness changed."""
    smallest_difference: float
    """Half-width that these items can detect, on the metric's scale."""
    steps: tuple[str, ...]


class SuiteRecovery(Frozen):
    """All tasks of a candidate together, on the score above chance."""

    candidate: str
    engine: str
    provenance: Provenance
    items: int
    tasks: tuple[str, ...]
    recovery: Estimate
    """100 · mean over tasks of (score − chance) / the same of the base, %."""
    smallest_difference: float
    """Half-width of the interval, in points of recovery."""
    unseen_loss: float = 0.0
    """Points by which clusters (or items) that are not in the sample could lower the recovery, at the interval's confidence."""
    unseen_gain: float = 0.0
    """Points by which they could raise it."""
    flips: float
    noise_floor_flips: float | None
    """Share of items that change between two runs of the base itself; None where it was not run twice."""
    noise_floor_tasks: tuple[str, ...] = ()
    """The tasks of the suite on which the base was run twice."""
    flips_on_noise_floor_tasks: float | None = None
    """The candidate's share on those tasks, to compare with `noise_floor_flips`."""
    steps: tuple[str, ...]


class Extension(Frozen):
    """More items with which a suite would be told from the bound: `items` in all, over `tasks` in proportion.

    `clusters` of them where items share one. `ended` are tasks that run out before, with how many items they have: the last of
    those are among `items`.
    """

    tasks: tuple[str, ...]
    items: int
    clusters: int | None = None
    ended: tuple[tuple[str, int], ...] = ()


class Decision(Frozen):
    """The decision on one candidate."""

    candidate: str
    format: str
    state: State
    reason: DecisionReason
    missing: tuple[str, ...] = ()
    """Tasks that its suite lacks."""
    suite: SuiteRecovery | None = None
    extension: Extension | None = None
    """The items that are needed to decide it, where more items can."""
    looked: Looked | None = None
    """The look at which it stopped, in a study that stops where nothing is left to decide."""
    undecidable: Undecidable | None = None
    """Why they cannot, where its suite is complete and inconclusive."""


class ServedWeights(Agreement):
    """How near a candidate's server is to its weights."""

    candidate: str


class EmulationError(Frozen):
    """A format that was run both ways: what emulation says minus what the served checkpoint says."""

    candidate: str
    task: str
    items: int
    difference: Estimate
    disagreements: float
    """Share of items scored differently."""
    steps: tuple[str, ...]


class SimilarityFinding(Frozen):
    """Greedy texts of a candidate against the base's, or its next-token distributions."""

    candidate: str
    engine: str
    provenance: Provenance
    data: str = ""
    """Name of the prompts or the text."""
    measure: str
    """The key of one of the verdict's `measures`."""
    items: int
    estimate: Estimate
    steps: tuple[str, ...]


class ModeRecovery(Frozen):
    """All tasks of a candidate in one thinking mode, on the score above chance."""

    candidate: str
    mode: str
    engine: str
    provenance: Provenance
    items: int
    tasks: tuple[str, ...]
    recovery: Estimate | None
    """As that of a suite; None where the base itself could be at chance."""
    steps: tuple[str, ...]


class ReplyFigure(Frozen):
    """A measure of replies: its mean over items."""

    measure: str
    """The key of one of the verdict's `reply_measures`."""
    estimate: Estimate
    change: Estimate | None
    """Less the base's mean, paired item by item; None of the base."""


class ModeResult(Frozen):
    """What a checkpoint replies to one task in one thinking mode; the base has entries of its own."""

    candidate: str
    task: str
    """Without its mode, which `tasks` and `suites` have in its name: `humaneval_chat (slow)`."""
    mode: str
    engine: str
    provenance: Provenance
    items: int
    replies: int
    score: float
    recovery: Estimate | None
    """None of the base, and where the task is excluded."""
    figures: tuple[ReplyFigure, ...]
    seconds: float | None
    """Wall-clock time of generating all replies with `concurrency` requests in flight; None where they are emulated."""
    concurrency: int | None
    steps: tuple[str, ...]


class SpeedFinding(Frozen):
    """One metric of one candidate at one load."""

    candidate: str
    workload: str
    deployment: str
    load_level: str
    """'synchronous' or 'concurrency N'."""
    metric: str
    """The key of one of the verdict's `metrics`."""
    percentile: float | None
    """None for a mean."""
    estimate: Timed
    ratio: Timed | None
    """Paired with the base within each round; larger than 1 means the value is larger than the base's."""
    rounds: int = 0
    """Rounds that the ratio rests on, or where there is none, the estimate."""
    valid: bool
    reasons: tuple[SpeedReason, ...]
    steps: tuple[str, ...]


class CostFinding(Frozen):
    """Cost of serving one workload, relative to the base and, where a price is known, in money."""

    candidate: str
    workload: str
    deployment: str
    mode: Mode
    load_level: str
    """The load at which it served most."""
    base_load_level: str | None = None
    """The load of the base that it is compared with."""
    cost_reduction: Timed | None
    """Queries per dollar over the base's; needs no price within one device kind."""
    rounds: int = 0
    """Rounds that `cost_reduction` rests on."""
    contending: tuple[int, ...] = ()
    """Requests in flight of the loads that may be the best of it or of the base: what further rounds have to measure."""
    notes: tuple[RoundsNote, ...] = ()
    queries_per_dollar: Timed | None
    price_per_hour: float | None
    price_source: str | None
    valid: bool
    steps: tuple[str, ...]


class Recommendation(Frozen):
    """The answer for one workload and mode."""

    workload: str
    deployment: str
    mode: Mode
    candidate: str
    code: RecommendationCode
    load: str
    """The load at which it is best."""
    compared: AgainstBase | None = None
    """What the reason rests on: its own comparison with the base, or where the base is kept, that of the fastest other."""
    equals: tuple[str, ...] = ()
    """Candidates that are as fast (`more_accurate_of_equals`)."""
    not_shown_slower: tuple[str, ...] = ()
    """Candidates that it may not be faster than."""
    advantage: Timed | None
    """Speed (or cost) of the recommended one over the base's, paired."""
    runner_up: str | None = None
    rounds_needed: int | None = None
    """Where the base is kept because nothing was told from it: rounds, in all, with which the fastest would be (80 % power)."""
    would_win_if_accepted: WouldWin | None = None
    """The fastest inconclusive candidate that would win if it were shown non-inferior."""


class NoRecommendation(Frozen):
    """A workload and mode for which nothing is recommended, and why."""

    workload: str
    deployment: str
    mode: Mode
    code: RefusalCode
    candidates: tuple[str, ...] = ()
    """Non-inferior candidates that could not be compared (`nothing_compared`), or whose limits are not shown either way."""


class SizeFinding(Frozen):
    """Bytes of a checkpoint."""

    candidate: str
    bytes: int
    ratio: float
    """Bytes over the base's; smaller than 1 is smaller than the base."""
    bits_per_weight: float | None
    steps: tuple[str, ...]


class GuidelineRow(Frozen):
    """Which format for which kind of use, as one line of a table."""

    mode: Mode
    deployment: str
    workloads: tuple[str, ...]
    best: str
    next: str | None


class Verdict(Frozen):
    """The whole answer of a study."""

    schema_version: Literal[4] = 4
    study: str
    model: str
    base: str
    margin: float
    """Largest loss of the suite's score above chance that counts as none, e.g. 0.01."""
    level: float = 0.95
    caveats: tuple[Caveat, ...]
    """What the reader must know before trusting the answer."""
    formats: tuple[Decision, ...]
    recommendations: tuple[Recommendation, ...]
    not_recommended: tuple[NoRecommendation, ...] = ()
    tasks: tuple[TaskRecovery, ...]
    suites: tuple[SuiteRecovery, ...]
    implausible: tuple[ImplausibleLoss, ...] = ()
    modes: tuple[ModeRecovery, ...] = ()
    thinking: tuple[ModeResult, ...] = ()
    reply_measures: tuple[Measure, ...] = ()
    """What the measures of `thinking` are."""
    served_weights: tuple[ServedWeights, ...] = ()
    """Of candidates at addresses, one each."""
    emulation: tuple[EmulationError, ...]
    judged: tuple[JudgedFinding, ...] = ()
    """Of tasks that a judge compares answers of."""
    similarity: tuple[SimilarityFinding, ...]
    measures: tuple[Measure, ...] = ()
    """What the measures of `similarity` are."""
    speed: tuple[SpeedFinding, ...]
    client_ceiling: ClientCeiling | None = None
    """What the load client could read, in the session in which that was least; None where it is not known."""
    metrics: tuple[ServingMetric, ...] = ()
    """What the metrics of `speed` are."""
    capacity: tuple[CapacityFinding, ...] = ()
    """Of workloads that looked for it."""
    arrivals: tuple[ArrivalsFinding, ...] = ()
    """Of loads whose requests arrive whatever the server does."""
    batches: tuple[BatchFinding, ...] = ()
    """Prefill and decode apart."""
    footprints: tuple[FootprintFinding, ...] = ()
    """What the servers took, where prefill and decode were measured apart."""
    latency_parts: tuple[LatencyParts, ...] = ()
    crossovers: tuple[Crossover, ...] = ()
    """Loads at which another candidate becomes the faster one."""
    natural: tuple[NaturalFinding, ...] = ()
    """Outputs that end by themselves."""
    cost: tuple[CostFinding, ...]
    sizes: tuple[SizeFinding, ...]
    guideline: tuple[GuidelineRow, ...] = ()
    failures: tuple[Failure, ...] = ()
    """The steps that failed or have not run."""
