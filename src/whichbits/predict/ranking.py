"""Which hardware and format serve a workload most cheaply within latency limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from whichbits.cost.hardware import catalogue, find
from whichbits.predict.coefficients import Coefficients, shipped
from whichbits.predict.kernels import format_name
from whichbits.predict.predictor import Prediction, Resolved, choose, predict_many, resolve
from whichbits.predict.query import MAX, Query
from whichbits.predict.ratios import BASES, Speedup, rate_a_device
from whichbits.predict.solve import Limits, concurrency_within
from whichbits.predict.work import columns

COUNTS = (1, 2, 4, 8)
"""Numbers of devices that are tried."""


@dataclass(frozen=True)
class Ranked:
    """One deployment with its best load within the limits.

    `prediction` is at the largest concurrency that keeps them; `dollars_per_query` is None without a price;
    `gain` is its rate a device over the best of a 16-bit format on this hardware; `reason` says why there is no answer.
    """

    hardware: str
    count: int
    format: str
    prediction: Prediction | None
    dollars_per_query: float | None
    reason: str | None
    gain: Speedup | None = None


def _order(entry: Ranked) -> tuple[int, float]:
    """Answers with a price first, the cheapest first; then by rate a device; then what cannot run."""
    if entry.prediction is None or entry.prediction.qps is None:
        return 2, 0.0
    if entry.dollars_per_query is not None:
        return 0, entry.dollars_per_query
    return 1, -entry.prediction.qps / entry.count


def rank_hardware(
    model: str,
    *,
    prompt_tokens: int,
    output_tokens: int,
    limits: Limits | None = None,
    formats: Sequence[str] = ("bf16", "w8a8-fp", "w8a8-int", "w4a16-int"),
    hardware: Sequence[str] | None = None,
    counts: Sequence[int] = COUNTS,
    prices: Mapping[str, float] | None = None,
    engine: str = "vllm",
    coefficients: Coefficients | None = None,
) -> list[Ranked]:
    """All deployments of a model, the cheapest query first.

    Args:
        model: hub id, or path of a folder with config.json.
        prompt_tokens: tokens of a prompt.
        output_tokens: tokens generated.
        limits: limits on mean latencies, in seconds; none by default.
        formats: formats to try.
        hardware: devices to try, by default the whole catalogue.
        counts: numbers of devices to try.
        prices: dollars an hour of one device by any of its names.
        engine: serving engine.
        coefficients: those of `calibrate`; default the shipped ones.
    """
    known, within = coefficients or shipped(), limits or Limits()
    names = list(hardware) if hardware else [entry.name for entry in catalogue().values()]
    queries = [
        Query(model, format, name, count, prompt_tokens, output_tokens, MAX, engine=engine)
        for name in names
        for count in counts
        for format in formats
    ]
    resolved = [resolve(query, known) for query in queries]
    possible = [r for r in resolved if r.reason is None]
    ranked = [Ranked(r.query.hardware, r.query.count, r.query.format, None, None, r.reason) for r in resolved if r.reason]
    if possible:
        layouts = [layout for layout, _ in choose(possible, known)]
        work = columns([r.point(layout, 1.0) for r, layout in zip(possible, layouts, strict=True)])
        loads = concurrency_within(work, known.values, within)
        ranked += _answered(
            [r.query for r in possible],
            [x.tensor for x in layouts],
            loads.tolist(),
            within,
            _hourly(possible, prices or {}),
            known,
        )
    return sorted(_with_gains(ranked, known), key=_order)


def _with_gains(ranked: Sequence[Ranked], known: Coefficients) -> list[Ranked]:
    """Each entry with its rate a device over that of the best 16-bit deployment of its hardware."""
    best: dict[str, Prediction] = {}
    for entry in ranked:
        answer = entry.prediction
        if answer is None or answer.qps is None or format_name(entry.format) not in BASES:
            continue
        held = best.get(entry.hardware)
        if held is None or held.qps is None or answer.qps / entry.count > held.qps / held.query.count:
            best[entry.hardware] = answer
    return [
        replace(entry, gain=rate_a_device(entry.prediction, best[entry.hardware], known))
        if entry.prediction is not None and entry.hardware in best and entry.prediction is not best[entry.hardware]
        else entry
        for entry in ranked
    ]


def _hourly(possible: Sequence[Resolved], prices: Mapping[str, float]) -> list[float | None]:
    """Dollars an hour of all devices of each deployment, where the device has a price."""
    by_device = {find(name).id: dollars for name, dollars in prices.items()}
    return [by_device[r.hardware.id] * r.query.count if r.hardware.id in by_device else None for r in possible]


def _answered(
    queries: Sequence[Query],
    tensors: Sequence[int],
    loads: Sequence[float],
    limits: Limits,
    hourly: Sequence[float | None],
    known: Coefficients,
) -> list[Ranked]:
    unlimited = limits == Limits()
    asked = [
        replace(q, concurrency=MAX if unlimited else 1.0 if np.isnan(load) else load, tensor_parallel=tensor)
        for q, tensor, load in zip(queries, tensors, loads, strict=True)
    ]
    entries = []
    for q, load, prediction, price in zip(queries, loads, predict_many(asked, known, prices=hourly), hourly, strict=True):
        if np.isnan(load):
            entries.append(Ranked(q.hardware, q.count, q.format, None, None, "one request alone breaks the latency limits"))
            continue
        per_query = price / (3600 * prediction.qps) if price and prediction.qps else None
        entries.append(Ranked(q.hardware, q.count, q.format, prediction, per_query, None))
    return entries
