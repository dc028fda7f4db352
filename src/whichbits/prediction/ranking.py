"""Which hardware and format serve a workload most cheaply within latency limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from whichbits.hardware.catalogue import catalogue, find
from whichbits.prediction.model.coefficients import Coefficients, shipped
from whichbits.prediction.model.serving import serve
from whichbits.prediction.model.solve import MeanLimits, concurrency_within
from whichbits.prediction.model.work import columns
from whichbits.prediction.predictor import Prediction, Resolved, answer, options, resolve
from whichbits.prediction.query import MAX, Query
from whichbits.prediction.ratios import BASES, Speedup, rate_a_device

COUNTS = (1, 2, 4, 8)
"""Numbers of devices that are tried."""


@dataclass(frozen=True)
class Ranked:
    """One deployment with its best load within the limits.

    `prediction` is in the layout and at the load that give the highest rate within them; `dollars_per_query` is None without a
    price; `engine` names the engine and its version, the same for all; `gain` is its rate a device over the best of a 16-bit
    format on this hardware; `reason` says why there is no answer.
    """

    hardware: str
    count: int
    format: str
    prediction: Prediction | None
    dollars_per_query: float | None
    reason: str | None
    engine: str
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
    limits: MeanLimits | None = None,
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
    known = coefficients or shipped()
    names = list(hardware) if hardware else [entry.name for entry in catalogue().values()]
    queries = [
        Query(model, format, name, count, prompt_tokens, output_tokens, MAX, engine=engine)
        for name in names
        for count in counts
        for format in formats
    ]
    resolved = [resolve(query, known) for query in queries]
    release = resolved[0].engine.label if resolved else engine
    ranked = [
        Ranked(r.query.hardware, r.query.count, r.query.format, None, None, r.reason, release) for r in resolved if r.reason
    ]
    possible = [r for r in resolved if r.reason is None]
    if possible:
        ranked += _answered(_within(possible, limits, known), release, _hourly(possible, prices or {}), known)
    return sorted(_with_gains(ranked, known), key=_order)


def _within(possible: Sequence[Resolved], limits: MeanLimits | None, known: Coefficients) -> list[Resolved | Query]:
    """Each deployment in the layout and at the load that give the highest rate within the limits; the query alone where a lone
    request breaks them in every layout."""
    if limits is None or limits == MeanLimits():
        return list(possible)
    found = options(possible, known)
    places = [i for i, several in enumerate(found) for _ in several]
    flat = [one for several in found for one in several]
    work = columns([possible[i].point(one.layout, 1.0) for i, one in zip(places, flat, strict=True)])
    loads = concurrency_within(work, known.values, limits)
    steady = serve(work, known.values, np.where(np.isnan(loads), 1.0, loads)).rate
    rates = np.where(np.isnan(loads), 0.0, np.minimum(steady, [one.counted for one in flat]))
    result: list[Resolved | Query] = [r.query for r in possible]
    reached = [0.0] * len(possible)
    for i, one, load, rate in zip(places, flat, loads.tolist(), rates.tolist(), strict=True):
        if rate > reached[i]:
            reached[i] = rate
            query = replace(possible[i].query, concurrency=load)
            result[i] = replace(possible[i], query=query, candidates=(one.layout,))
    return result


def _with_gains(ranked: Sequence[Ranked], known: Coefficients) -> list[Ranked]:
    """Each entry with its rate a device over that of the best 16-bit deployment of its hardware."""
    best: dict[str, Prediction] = {}
    for entry in ranked:
        found = entry.prediction
        if found is None or found.qps is None or entry.format not in BASES:
            continue
        held = best.get(entry.hardware)
        if held is None or held.qps is None or found.qps / entry.count > held.qps / held.query.count:
            best[entry.hardware] = found
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
    asked: Sequence[Resolved | Query], release: str, hourly: Sequence[float | None], known: Coefficients
) -> list[Ranked]:
    answered = [(r, price) for r, price in zip(asked, hourly, strict=True) if isinstance(r, Resolved)]
    answers = iter(answer([r for r, _ in answered], known, prices=[price for _, price in answered]))
    entries = []
    for one, price in zip(asked, hourly, strict=True):
        if isinstance(one, Query):
            reason = "one request alone breaks the latency limits"
            entries.append(Ranked(one.hardware, one.count, one.format, None, None, reason, release))
            continue
        found, q = next(answers), one.query
        if found.reason is not None:
            entries.append(Ranked(q.hardware, q.count, q.format, None, None, found.reason, release))
            continue
        per_query = price / (3600 * found.qps) if price and found.qps else None
        entries.append(Ranked(q.hardware, q.count, q.format, found, per_query, None, release))
    return entries
