"""Findings of prefill and decode apart, arrivals, outputs that end by themselves, and loads where the order changes."""

from __future__ import annotations

from typing import Literal

from whichbits.schema.prefill_decode import Phase
from whichbits.schema.serve import Arrivals
from whichbits.verdict.estimates import Estimate, Frozen, Timed
from whichbits.verdict.reasons import SpeedReason


class BatchFinding(Frozen):
    """Prefill, or a decode step, of one candidate at one size of the batch and one length."""

    candidate: str
    deployment: str
    phase: Phase
    batch_size: int
    tokens: int
    """Of each prompt in prefill; of prompt and output so far in decode."""
    seconds: Timed
    """Until all have their first token, or of a decode step."""
    tokens_per_second: Timed
    """Prompt tokens of the whole batch, or output tokens of it."""
    speedup: Timed | None
    """The base's seconds over its own, paired within each round; None of the base."""
    rounds: int
    valid: bool
    reasons: tuple[SpeedReason, ...]
    steps: tuple[str, ...]


class FootprintFinding(Frozen):
    """What a candidate's server takes, the median over rounds; None of what nobody said."""

    candidate: str
    deployment: str
    start_s: float | None
    """Until it answered."""
    peak_memory_bytes: int | None
    """Of the machine, not of accelerators."""
    kv_cache_tokens: int | None
    steps: tuple[str, ...]


class LatencyParts(Frozen):
    """What the latency of a candidate at a load is made of, by its prefill and its decode steps."""

    candidate: str
    workload: str
    deployment: str
    load_level: str
    prefill_s: float
    """Of a batch as large as the number of requests in flight."""
    decode_s: float
    """Of all its steps."""
    measured_s: float
    """Mean latency at this load."""

    @property
    def bound_by(self) -> Phase:
        """The longer part."""
        return "prefill" if self.prefill_s > self.decode_s else "decode"

    @property
    def share(self) -> float:
        """Of the longer part in both."""
        return max(self.prefill_s, self.decode_s) / (self.prefill_s + self.decode_s)


class ArrivalsFinding(Frozen):
    """A candidate at a load whose requests arrive whatever the server does: its limits, and how soon it answers."""

    candidate: str
    workload: str
    deployment: str
    load_level: str
    kind: Arrivals
    rate: float | None
    """Arrivals per second, where they come at one rate."""
    limits: Literal["kept", "missed", "open"] | None
    """Whether it is shown to keep the workload's limits, or to miss one; None where it has none."""
    latency: Timed | None
    """Mean latency over the base's; None of the base."""
    valid: bool
    steps: tuple[str, ...]


Axis = Literal["concurrency", "rate"]
"""What a load is: requests in flight, or arrivals per second."""


class Crossover(Frozen):
    """The load below which one candidate answers sooner, and above which another does."""

    below: str
    above: str
    workload: str
    deployment: str
    axis: Axis
    load: Estimate
    rounds: int
    steps: tuple[str, ...]


class NaturalFinding(Frozen):
    """How long a candidate's answers are where they may end by themselves, and how many queries are served so."""

    candidate: str
    workload: str
    deployment: str
    concurrency: int
    prompts: int
    tokens: float
    """Of an answer, on average."""
    base_tokens: float
    length_ratio: Estimate
    """Tokens of all answers over the base's, paired by prompt."""
    truncated: float
    """Share of the answers that are as long as they may be, and might have been longer."""
    base_truncated: float
    speed: Timed | None
    """Queries per second over the base's, paired by round: what shorter or longer answers make of cost is in it."""
    rounds: int
    valid: bool
    reasons: tuple[SpeedReason, ...]
    steps: tuple[str, ...]
