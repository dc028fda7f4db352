"""What the machine's own counters say of a load: the energy it took, and for how long the machine was held back."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from whichbits.hardware.energy import Counter, joules_between, read_energy
from whichbits.hardware.throttling import throttled_seconds
from whichbits.schema.metrics import ServingMetric
from whichbits.schema.serve import Energy, LoadLevelSummary, Metrics
from whichbits.serving.observation import Observation

HERE = ("127.0.0.1", "localhost", "::1")
"""Hosts of servers whose energy is this machine's."""
IDLE_S = 2.0
"""For how long the idle power is measured."""

ENERGY_METRICS = (
    ServingMetric(key="joules_per_query", title="Energy per query, above idle", unit="J", better="lower", per="level"),
    ServingMetric(
        key="joules_per_output_token", title="Energy per output token, above idle", unit="J", better="lower", per="level"
    ),
    ServingMetric(key="idle_watts", title="Idle power, which is taken off", unit="W", better="lower", per="level"),
)
"""What a load level has where the machine counts energy."""


@dataclass(frozen=True)
class Reading:
    """All counters at one moment."""

    at_s: float
    energy: tuple[Counter, ...]
    throttled: Mapping[str, float]


def reading() -> Reading:
    """The counters now."""
    return Reading(time.perf_counter(), read_energy(), throttled_seconds())


def idle_watts(url: str) -> float | None:
    """Power while nothing is asked of the server that is up.

    None, at once, where the machine counts no energy, or the server is on another one.
    """
    before = reading()
    if not before.energy or urlsplit(url).hostname not in HERE:
        return None
    time.sleep(IDLE_S)
    after = reading()
    joules = joules_between(before.energy, after.energy)
    return None if joules is None else joules / (after.at_s - before.at_s)


def energy_between(before: Reading, after: Reading, idle: float | None) -> Energy | None:
    """What the counters went up by; None where there are none."""
    joules = joules_between(before.energy, after.energy)
    if joules is None or idle is None:
        return None
    return Energy(joules=joules, seconds=after.at_s - before.at_s, idle_watts=idle)


def throttled_between(before: Reading, after: Reading) -> dict[str, float]:
    """Share of the time in which the machine was held back, by cause."""
    seconds = after.at_s - before.at_s
    return {cause: (total - before.throttled.get(cause, 0.0)) / seconds for cause, total in after.throttled.items()}


def with_energy(metrics: Metrics, energy: Energy | None, seen: Sequence[Observation]) -> Metrics:
    """The metrics with joules a query and an output token above idle (warm-up counted on both sides), and the idle power.

    They stay as they are where none are known.
    """
    answered = [one for one in seen if one.answered]
    tokens = sum(one.output_tokens for one in answered)
    if energy is None or not tokens or energy.above_idle() <= 0:
        return metrics
    found = {
        "joules_per_query": energy.above_idle() / len(answered),
        "joules_per_output_token": energy.above_idle() / tokens,
        "idle_watts": energy.idle_watts,
    }
    return Metrics.model_validate({**metrics.model_dump(), **found})


def energy_metrics(levels: Sequence[LoadLevelSummary]) -> tuple[ServingMetric, ...]:
    """The metrics of energy that some of the levels have."""
    return tuple(one for one in ENERGY_METRICS if any(level.metrics.of(one.key) is not None for level in levels))
