"""What a study found, joined and checked but not yet judged: the input of `decide`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from whichbits.core.crossing import Point
from whichbits.schema.deployment import Deployment
from whichbits.schema.footprint import Footprint
from whichbits.schema.metrics import Measure, ServingMetric
from whichbits.schema.prefill_decode import MeasuredBatches
from whichbits.schema.serve import Arrivals, ClientCeiling, Metrics, NaturalLoad
from whichbits.schema.server_abilities import ServerAbilities
from whichbits.schema.workload import Limit, Workload
from whichbits.verdict.estimates import Provenance
from whichbits.verdict.judged_finding import JudgedFinding
from whichbits.verdict.paired import Paired
from whichbits.verdict.reasons import Failure
from whichbits.verdict.statistics import FloatArray
from whichbits.verdict.verdict import ServedWeights

if TYPE_CHECKING:
    from pyarrow import ChunkedArray

EMULATED = "emulated"
"""The engine that emulates a format's arithmetic."""


@dataclass(frozen=True)
class ScoredTask:
    """Two runs of one task, joined item by item.

    For a candidate: against the base in the same engine. For the noise floor: the base's second run against its first. For
    the emulation's error: the emulated run against the served one.
    """

    candidate: str
    task: str
    engine: str
    provenance: Provenance
    available: int | None
    """Items the task can have; None where it is generated and never runs out of them."""
    pair: Paired
    steps: tuple[str, ...]
    uninformative: str | None = None
    """Why the task says little of this base, in the words of the evaluation; None where it can."""
    mode: str | None = None
    """Of thinking, in which the task was asked."""


@dataclass(frozen=True)
class SimilaritySample:
    """One measure of a candidate as sums over units (prompts, windows), so that a mean is numerator.sum() / denominator.sum().

    `exponential` says that the measure is exp of that mean (perplexity).
    """

    candidate: str
    engine: str
    provenance: Provenance
    data: str
    measure: str
    numerator: FloatArray
    denominator: FloatArray
    exponential: bool
    steps: tuple[str, ...]


@dataclass(frozen=True)
class RepliedTask:
    """What a checkpoint's replies to a task in a thinking mode are like, item by item, in the order of the items' names.

    `values` holds arrays (items,) by key of the measure, NaN where an item has none.
    """

    candidate: str
    task: str
    mode: str
    engine: str
    provenance: Provenance
    score: float
    replies: int
    values: Mapping[str, FloatArray]
    items: ChunkedArray
    """Their names."""
    cluster: NDArray[np.intp]
    """Number of each item's cluster, (items,)."""
    seconds: float | None
    """Of generating them; None where they are emulated."""
    concurrency: int | None
    steps: tuple[str, ...]

    def among(self, items: ChunkedArray) -> RepliedTask:
        """With the replies to these items alone."""
        import pyarrow.compute as compute

        wanted = compute.is_in(self.items, value_set=items.combine_chunks())
        rows = np.flatnonzero(wanted.to_numpy())
        values = {key: values[rows] for key, values in self.values.items()}
        return replace(self, values=values, items=self.items.filter(wanted), cluster=self.cluster[rows])


@dataclass(frozen=True)
class Round:
    """One model at one load in one round of measurement.

    `requests` holds arrays (requests,) of the finished requests, by key of the metrics that are of requests.
    """

    candidate: str
    against: str
    """The candidate in whose step this was measured; for the base's rounds, the one it is paired with."""
    workload: str
    deployment: str
    load_level: str
    concurrency: int | None
    """Requests in flight; None where they arrive at a rate."""
    session: str
    repeat: int
    """From 0."""
    valid: bool
    reasons: tuple[str, ...]
    metrics: Metrics
    requests: Mapping[str, FloatArray]
    steps: tuple[str, ...]
    arrivals: Arrivals | None = None
    """How requests arrive, where they are not kept in flight."""
    rate: float | None = None
    """Arrivals per second, where they come at one rate."""
    throughputs: frozenset[str] = frozenset({"requests_per_second", "output_tokens_per_second"})
    """Keys of the metrics that are rates of the whole load."""
    cached: float | None = None
    """Share of the prompt tokens that the server found in its prefix cache; None where it does not say."""
    server_started: float | None = None
    """Seconds since 1970; None where the server does not say."""
    client_share: float | None = None
    """Tokens that came each second over those that the client could read; None where that is not known."""
    abilities: ServerAbilities | None = None
    """By which requests were made; None where that is not known."""


@dataclass(frozen=True)
class CapacityRound:
    """A run that looked for the highest rate at which a workload's limits hold."""

    candidate: str
    workload: str
    deployment: str
    session: str
    repeat: int
    load_level: str
    point: Point
    """Rate of arrivals, and the largest share of a limit that its percentile took."""
    steps: tuple[str, ...]


@dataclass(frozen=True)
class BatchRound:
    """Batches of one size and length of one model in one round."""

    candidate: str
    against: str
    """The candidate in whose step this was measured; of the base's batches, the one that they are paired with."""
    deployment: str
    session: str
    repeat: int
    batches: MeasuredBatches
    steps: tuple[str, ...]


@dataclass(frozen=True)
class NaturalRound:
    """A candidate's load whose answers end by themselves, and the base's of the same round."""

    candidate: str
    workload: str
    deployment: str
    session: str
    repeat: int
    own: NaturalLoad
    base: NaturalLoad
    steps: tuple[str, ...]


@dataclass(frozen=True)
class ServerTook:
    """What the server of one model took in one round."""

    candidate: str
    deployment: str
    footprint: Footprint
    steps: tuple[str, ...]


@dataclass(frozen=True)
class Kernel:
    """What the probe says of a candidate in a serving engine."""

    status: str
    """native, reference or refused; unknown at an address that the user gave, and where another tool measured."""
    kernel: str | None
    reason: str | None


@dataclass(frozen=True)
class Size:
    """Bytes of a checkpoint."""

    candidate: str
    bytes: int
    bits_per_weight: float | None
    steps: tuple[str, ...]


@dataclass(frozen=True)
class Findings:
    """Everything that `decide` judges. `formats` lists the candidates in the study's order, the base among them or not."""

    base: str
    formats: Mapping[str, str]
    tasks: tuple[ScoredTask, ...] = ()
    noise: tuple[ScoredTask, ...] = ()
    emulation: tuple[ScoredTask, ...] = ()
    incomplete: Mapping[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    """Tasks without a result, by (candidate, engine)."""
    failed: Mapping[str, Failure] = field(default_factory=dict)
    """First of `failures` that is a failed step of the candidate."""
    replied: tuple[RepliedTask, ...] = ()
    """Of the base too, in the order of the study."""
    reply_measures: tuple[Measure, ...] = ()
    """What its values are."""
    judged: tuple[JudgedFinding, ...] = ()
    similarity: tuple[SimilaritySample, ...] = ()
    measures: tuple[Measure, ...] = ()
    """What those are measures of."""
    rounds: tuple[Round, ...] = ()
    capacity_rounds: tuple[CapacityRound, ...] = ()
    batch_rounds: tuple[BatchRound, ...] = ()
    natural_rounds: tuple[NaturalRound, ...] = ()
    footprints: tuple[ServerTook, ...] = ()
    client_ceiling: ClientCeiling | None = None
    """What the load client could read, in the session in which that was least; None where it is not known."""
    metrics: tuple[ServingMetric, ...] = ()
    """What the rounds measured."""
    kernels: Mapping[str, Kernel] = field(default_factory=dict)
    elsewhere: frozenset[str] = frozenset()
    """Deployments on which another tool measured: the probe of this machine says nothing of them, nor do its servers."""
    served_weights: tuple[ServedWeights, ...] = ()
    sizes: tuple[Size, ...] = ()
    deployments: Mapping[str, Deployment] = field(default_factory=dict)
    workloads: Mapping[str, Workload] = field(default_factory=dict)
    failures: tuple[Failure, ...] = ()

    @property
    def served_others(self) -> frozenset[str]:
        """Candidates, the base among them, whose servers do not serve their weights."""
        return frozenset(entry.candidate for entry in self.served_weights if entry.other)

    @property
    def finer_than_base(self) -> frozenset[str]:
        """Candidates whose servers compute in FP16 or float32, as the base's server is known not to."""
        finer = {
            entry.candidate: entry.arithmetic == "finer" for entry in self.served_weights if entry.from_float32 is not None
        }
        return frozenset(name for name, found in finer.items() if found and finer.get(self.base) is False)

    def limits(self, workload: str) -> Mapping[str, Limit]:
        """The limits of latency of a workload by name: ttft, itl or latency."""
        found = self.workloads.get(workload)
        return found.slo.limits() if found is not None and found.slo is not None else {}

    @property
    def candidates(self) -> tuple[str, ...]:
        """All candidates but the base."""
        return tuple(name for name in self.formats if name != self.base)
