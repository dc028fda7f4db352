"""What `serve` steps take and return: the metrics of each load level and the evidence for their validity."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import AliasChoices, ConfigDict, Field

from whichbits.schema.frozen import Stored
from whichbits.schema.inputs import Inputs, Local
from whichbits.schema.metrics import ServingMetric
from whichbits.schema.server_abilities import ServerAbilities
from whichbits.schema.session import SessionInputs, SessionLocal, WeightsBehind
from whichbits.schema.summary import Summary
from whichbits.schema.workload import Workload


class CapacityRun(Stored):
    """A run of arrivals that looks for the highest rate at which the workload's limits hold."""

    rate: float
    """Requests that came each second."""
    worst: float | None
    """Largest share of a limit that its percentile takes: below 1 all hold. None where requests piled up, or some failed."""


class EarlierRuns(Stored):
    """Runs of the rounds before that looked for the capacity: a further round goes on from them."""

    candidate: tuple[CapacityRun, ...]
    base: tuple[CapacityRun, ...]


class ServeInputs(SessionInputs):
    """A checkpoint and the base in an engine, and the load that they are measured under."""

    if_given: ClassVar[frozenset[str]] = SessionInputs.if_given | {"requests", "earlier"}

    workload: Workload
    """Its log or its prompts by their file's name alone."""
    requests: str | None = None
    """SHA-256 of that file."""
    earlier: EarlierRuns | None = None
    """Of a further round that looks for the capacity."""


class ImportedSpeeds(Stored):
    """Whose measurement it is, of which models, and the SHA-256 of what was read of it."""

    tool: str
    models: tuple[str, str]
    """Base and candidate, as the tool calls them."""
    rows: str
    repeat: int


class ImportedServeInputs(Inputs):
    """Inputs of a step whose result is another tool's."""

    imported: ImportedSpeeds


class ImportedServeLocal(Local):
    """The files, or folders of files, of the base and of the candidate."""

    base: Path
    candidate: Path


class ServeLocal(SessionLocal):
    """Where the requests are read from too."""

    requests: Path | None = None
    """The workload's log or prompts."""


class Percentile(Stored):
    """A percentile with its order-statistic interval."""

    value: float
    low: float
    high: float | None
    """None where the sample has no order statistic that bounds it."""


class Distribution(Stored):
    """Of one latency over a load level's requests, in seconds."""

    n: int
    mean: float
    percentiles: Mapping[str, Percentile | None]
    """By '50', '90', '95', '99'; None where `n` is too small for it."""


class Metrics(Stored):
    """Metrics of one load level, by key; docs/serving.md defines each by its formula. None where no request gave one.

    The fields are those that are computed with: by the sweep, by validity, by the predictor's calibration. Others are kept by
    their key.
    """

    model_config = ConfigDict(frozen=True, extra="allow")
    __pydantic_extra__: dict[str, Distribution | float | None]

    requests_per_second: float | None
    output_tokens_per_second: float | None
    ttft_s: Distribution | None = None
    itl_s: Distribution | None = None
    """Over all gaps between chunks of all requests."""
    tpot_s: Distribution | None = None
    latency_s: Distribution | None = None

    def of(self, key: str) -> Distribution | float | None:
        """The metric of that key; None where the load level has none."""
        found: Distribution | float | None = getattr(self, key, None)
        return found

    def mean(self, key: str) -> float | None:
        """Its value, or where it is of requests, their mean."""
        found = self.of(key)
        return found.mean if isinstance(found, Distribution) else found

    def percentile(self, key: str, at: str) -> float | None:
        """A percentile of a metric of requests; None where the sample is too small for it."""
        found = self.of(key)
        percentile = found.percentiles.get(at) if isinstance(found, Distribution) else None
        return None if percentile is None else percentile.value


class LengthsOff(Stored):
    """Requests of which the server counted other numbers of tokens than were asked for."""

    requests: int
    asked: int
    """Of the first of them."""
    counted: int


class Energy(Stored):
    """What this machine's counters say that a load took; None of it is of another machine's server."""

    joules: float
    """From the first request to the last end, warm-up included."""
    seconds: float
    idle_watts: float
    """Just before the load, with the server up."""

    def above_idle(self) -> float:
        """Joules beyond what idling would have taken."""
        return self.joules - self.idle_watts * self.seconds


class Evidence(Stored):
    """What the validity of a load level was judged by."""

    requests: int
    """Measured requests that were answered in full."""
    requests_planned: int
    errors: int
    """Of all requests, warm-up included."""
    first_error: str | None
    steady_s: float | None
    """Length of the steady window."""
    mean_latencies: float | None = Field(validation_alias=AliasChoices("mean_latencies", "waves"))
    """How many mean latencies fit into it."""
    in_flight: float | None
    """Mean number of requests in flight in it; Little's law makes it X · R."""
    offered_rate: float | None
    """Arrivals per second in it; None for a closed loop."""
    dispatch_delay_s: float | None
    """Mean time from when a request was due to when it was sent."""
    client_cpu: float | None = None
    """Cores' worth of CPU that the client used; None, as the next three, where another tool measured."""
    client_busiest_cpu: float | None = None
    """The same of its busiest process."""
    client_cpus: int | None = None
    """Cores it was allowed."""
    clock_step_s: float | None = None
    prompt_tokens: tuple[int, int] | None
    """Smallest and largest, as the server counted."""
    output_tokens: tuple[int, int] | None
    prompts_off: LengthsOff | None = None
    outputs_off: LengthsOff | None = None
    tokens_per_chunk: float | None
    prefix_cache_hit_rate: float | None = None
    """Hits / queries of the server's prefix cache during the load level; None where it does not say."""
    foreign_tokens: float | None = None
    """Share of the tokens the server generated meanwhile that were not ours; None where it does not say."""
    loop_lag_s: float | None = None
    """Mean lateness of the client's event loop, and so of the times it stamps."""
    tokens_missing: float | None = None
    """Share of the tokens that we got that the server's counters do not hold; None where it does not say."""
    server_started: float | None = None
    """When the server's process was started, seconds since 1970; None where it does not say."""
    preemptions: float | None = None
    """Requests that the server put off for lack of room in its key-value cache; None where it does not say."""
    throttled: Mapping[str, float] | None = None
    """Share of the time in which the machine was held back, by cause; of causes that it counts."""
    drift: float | None = None
    """Mean latency in the second half of the steady window over that in the first, less 1, where the two are told apart.

    None where requests arrive at a rate: their queue grows and shrinks by chance.
    """
    backlog_growth: int | None = None
    """Requests in flight at the end of the steady window beyond those in its beginning, where the server does not keep up.

    None where it is chance, and where requests do not arrive at one rate.
    """
    energy: Energy | None = None
    at_once: float | None = None
    """Share of the requests of which all tokens arrived in one piece; None where none was answered."""
    abilities: ServerAbilities | None = None
    """By which requests were made; None in results of before, all of servers that take the usual ones, and of other tools."""


Arrivals = Literal["rate", "ramp", "trace"]
"""How requests arrive that are not kept in flight."""


class LoadLevelSummary(Stored):
    """One load level of one workload, measured once."""

    load_level: str = Field(validation_alias=AliasChoices("load_level", "rung"))
    """'synchronous', 'concurrency N', 'rate R', 'ramp A to B', 'trace' or 'capacity run N'."""
    concurrency: int | None
    """Requests in flight; None where they arrive at a rate."""
    rate: float | None = None
    """Arrivals per second."""
    arrivals: Arrivals | None = None
    """How its requests arrived; None where they were kept in flight, or otherwise."""
    valid: bool
    reasons: tuple[str, ...] = ()
    """Why it is not valid."""
    metrics: Metrics
    evidence: Evidence | None = None
    capacity_run: CapacityRun | None = None
    """What it tells where it looks for the capacity; it is then no load of its own."""


class NaturalLoad(Stored):
    """A load whose answers end where the model ends them, measured once."""

    concurrency: int
    valid: bool
    reasons: tuple[str, ...] = ()
    requests_per_second: float | None
    tokens: tuple[int | None, ...]
    """Of the answer to each prompt, in an order that is the same for all; None where it failed."""
    truncated: float | None
    """Share of the answers that are as long as they may be; None where there is none."""


STREAM_TOKENS = 50
"""Tokens each second of the streams that a ceiling is told in."""


class ClientCeiling(Stored):
    """What the load client can read before it is said to be saturated, by its cost against a server that computes nothing."""

    tokens_per_second: float
    """One a chunk."""
    cores: int
    """That the two shared."""

    @property
    def streams(self) -> int:
        """Streams of 50 tokens a second."""
        return int(self.tokens_per_second / STREAM_TOKENS)


class ServeSummary(Summary, kind="serve"):
    """A candidate's speed and the base's of the same round; their requests are in `items.parquet`."""

    session: str = Field(validation_alias=AliasChoices("session", "sitting"))
    """Measurement session."""
    order: tuple[str, ...] = ()
    """In which the candidates of the round were measured."""
    load_levels: tuple[LoadLevelSummary, ...] = Field(validation_alias=AliasChoices("load_levels", "rungs"))
    base_load_levels: tuple[LoadLevelSummary, ...] = Field(validation_alias=AliasChoices("base_load_levels", "base_rungs"))
    metrics: tuple[ServingMetric, ...] = ()
    """What was measured."""
    natural: NaturalLoad | None = None
    """Where the workload asks for it."""
    base_natural: NaturalLoad | None = None
    weights: WeightsBehind | None = None
    client_ceiling: ClientCeiling | None = None
    """At the beginning of the session, on the client's cores; None in stores of before, and where another tool measured."""
