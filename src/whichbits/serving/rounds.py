"""Interleaved rounds of a measurement session: the same loads for every candidate, in an order that drift cannot favour."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from whichbits.schema.workload import Loads, Workload
from whichbits.serving.result import LoadLevelResult

Outcome = list[LoadLevelResult] | Exception
Measure = Callable[[str, Workload, int], Outcome]
"""Measures a candidate of this name under a workload, an `auto` sweep at least up to this concurrency."""


def order(names: Sequence[str], *, seed: int, repeat: int) -> list[str]:
    """The order in which candidates are measured in round `repeat` (0, 1, …) of a session.

    Every second round is the reverse of the round before it, so that what drifts steadily meets all alike; the rounds between
    are shuffled, a function of (`seed`, pair of rounds, names). Always in one order, a machine that warms up would look like a
    difference between candidates.
    """
    shuffled = [str(name) for name in np.random.default_rng([seed, repeat // 2]).permutation(sorted(names))]
    return shuffled[::-1] if repeat % 2 else shuffled


def concurrencies(results: Sequence[LoadLevelResult]) -> tuple[int, ...]:
    """Numbers of requests in flight that were measured, ascending, one at a time left out."""
    return tuple(sorted({one.concurrency for one in results if one.concurrency is not None and one.concurrency > 1}))


def measure_round(workloads: Mapping[str, Workload], measure: Measure) -> dict[str, Outcome]:
    """Measure the candidates one after another, in the order of `workloads`, each under its own.

    An `auto` sweep ends where the last of the candidates is saturated: each is measured at least as far as those before it,
    and those that ended earlier are taken to the rest of the loads afterwards.
    """
    measured: dict[str, Outcome] = {}
    highest = 0
    for name, workload in workloads.items():
        measured[name] = measure(name, workload, highest)
        highest = max([highest, *_of(measured[name])])
    swept = {name: workload for name, workload in workloads.items() if workload.concurrency == "auto"}
    wanted = sorted({load for name in swept for load in _of(measured[name])})
    for name, workload in swept.items():
        outcome = measured[name]
        missing = tuple(load for load in wanted if load not in _of(outcome))
        if isinstance(outcome, Exception) or not missing or _broken(outcome):
            continue
        further = measure(name, workload.at(Loads(in_flight=missing)), 0)
        measured[name] = further if isinstance(further, Exception) else sorted([*outcome, *further], key=_place)
    return measured


def fixed(workload: Workload, measured: Mapping[str, Outcome]) -> Workload:
    """The workload with the loads that its `auto` sweep has found in a round, for the rounds that follow."""
    loads = sorted({load for outcome in measured.values() for load in _of(outcome)})
    return workload.model_copy(update={"concurrency": tuple(loads)}) if workload.concurrency == "auto" and loads else workload


def _of(outcome: Outcome) -> tuple[int, ...]:
    return () if isinstance(outcome, Exception) else concurrencies(outcome)


def _broken(results: Sequence[LoadLevelResult]) -> bool:
    """Whether a sweep ended because a load gave no throughput at all."""
    return any(one.concurrency is not None and not one.metrics.requests_per_second for one in results)


def _place(one: LoadLevelResult) -> tuple[bool, float]:
    return one.concurrency is None, one.concurrency or 0
