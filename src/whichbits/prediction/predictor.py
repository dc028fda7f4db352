"""Answers: latency, rate and cost of a model in a format on hardware that is not available, with intervals and tier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np

from whichbits.core.errors import UserError
from whichbits.hardware.catalogue import Hardware, find
from whichbits.models.catalogue import find_shape
from whichbits.models.shape import Shape
from whichbits.prediction.model.coefficients import Coefficients, meaningless, shipped
from whichbits.prediction.model.kernels import Engine, Kernel, engine, kernel, refusal
from whichbits.prediction.model.layout import divides, layouts, room_for_tokens
from whichbits.prediction.model.serving import Outcome, serve
from whichbits.prediction.model.solve import concurrency_at_rate, highest
from whichbits.prediction.model.tiers import LEVELS, interval, spread_of, tier
from whichbits.prediction.model.work import Layout, Point, columns
from whichbits.prediction.query import MAX, Query, parse_concurrency
from whichbits.prediction.training.measurements import published


@dataclass(frozen=True)
class Prediction:
    """The answer to a query.

    Where `reason` is given there is no answer and every number is None. `load` is `synchronous`, `loaded` or `max`. At `max`,
    the highest rate, `qps` is what a load test of six minutes from an empty server counts; at every other load it is
    concurrency / latency, and never more than that. `qps_steady` is the rate that the server tends to. `engine` names the
    engine and the version that the answer is for, `engine_measured` the versions whose measurements stand behind it: a later
    one is taken to be as fast. `intervals` maps a quantity (`latency_s`, `ttft_s`, `tpot_s`, `qps`, `queries_per_dollar`) and a
    level (80, 95) to its bounds.
    """

    query: Query
    provenance: str = "predicted"
    engine: str | None = None
    engine_measured: str | None = None
    tier: str | None = None
    load: str | None = None
    reason: str | None = None
    latency_s: float | None = None
    ttft_s: float | None = None
    tpot_s: float | None = None
    qps: float | None = None
    qps_steady: float | None = None
    concurrency: float | None = None
    layout: Layout | None = None
    price_per_hour: float | None = None
    queries_per_dollar: float | None = None
    intervals: Mapping[str, Mapping[int, tuple[float, float]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Resolved:
    """A query whose names have been looked up, with the layouts that it can run in."""

    query: Query
    shape: Shape
    kernel: Kernel
    hardware: Hardware
    engine: Engine
    candidates: tuple[Layout, ...]
    reason: str | None = None

    def point(self, layout: Layout, concurrency: float) -> Point:
        """What the model is asked."""
        q = self.query
        return Point(self.shape, self.kernel, self.hardware, self.engine, layout, q.prompt_tokens, q.output_tokens, concurrency)


def resolve(query: Query, coefficients: Coefficients) -> Resolved:
    """Look up the query's names and layouts; `reason` says why it cannot run, if so. Unknown names raise UserError.

    The format of the resolved query has the catalogue's name, by whatever alias it was asked for.
    """
    query.check()
    shape, how, hardware, server = (
        find_shape(query.model), kernel(query.format), find(query.hardware), engine(query.engine),
    )  # fmt: skip
    query = replace(query, format=how.format)
    length = query.prompt_tokens + query.output_tokens
    wrong = meaningless(coefficients.values)
    reason = f"no answer: coefficient {wrong}" if wrong else refusal(how.format, hardware)
    if reason is None and shape.context and length > shape.context:
        reason = f"prompt and output of {length} tokens exceed the context of {shape.context}"
    found: list[Layout] = []
    if reason is None:
        at_most = query.rate is None and query.concurrency == MAX
        found = layouts(
            shape, how, hardware, query.count, query.tensor_parallel, coefficients.values, length=length, at_most=at_most
        )
        if not found:
            reason = _does_not_run(query, shape, how, hardware, coefficients, length)
    return Resolved(query, shape, how, hardware, server, tuple(found), reason)


def _does_not_run(
    query: Query, shape: Shape, how: Kernel, hardware: Hardware, coefficients: Coefficients, length: float
) -> str:
    tensor = query.tensor_parallel or min(query.count, hardware.node)
    if not divides(shape, tensor):
        return f"{shape.heads} attention heads cannot be split among {tensor} devices"
    layout = Layout(tensor, max(1, query.count // tensor))
    room = room_for_tokens(shape, how, hardware, layout, coefficients.values, length)
    kind = "the weights do not fit" if room < 0 else f"with the weights there is room for {room:.0f} tokens, not {length:.0f}"
    return f"{kind}: {how.format} on {query.count} × {hardware.name} ({hardware.memory / 2**30:.0f} GiB each)"


@cache
def _published_rows() -> frozenset[tuple[object, ...]]:
    return frozenset(
        (m.shape.id, m.hardware.id, m.count, m.kernel.format, m.engine.version, m.prompt, m.output, m.concurrency)
        for m in published()
    )


def _tier(resolved: Resolved, coefficients: Coefficients) -> str:
    q = resolved.query
    found = tier(coefficients, resolved.shape, resolved.hardware, resolved.kernel.format, resolved.engine)
    row = (
        resolved.shape.id,
        resolved.hardware.id,
        q.count,
        resolved.kernel.format,
        resolved.engine.version,
        q.prompt_tokens,
        q.output_tokens,
        q.concurrency,
    )
    return "measured" if found == "interpolated" and q.rate is None and row in _published_rows() else found


def _measured(engine: Engine, known: Coefficients) -> str | None:
    """The engine in the versions of its generation that were measured; None where none was."""
    releases = known.releases.get(engine.generation, ())
    return f"{engine.name}=={', '.join(releases)}" if releases else None


@dataclass(frozen=True)
class Chosen:
    """A layout of a query, the highest rate that a load test counts in it, and the requests in flight that give that rate."""

    layout: Layout
    counted: float
    concurrency: float


def options(resolved: Sequence[Resolved], coefficients: Coefficients) -> list[list[Chosen]]:
    """All layouts of each query with their highest rates."""
    places = [i for i, r in enumerate(resolved) for _ in r.candidates]
    layouts = [layout for r in resolved for layout in r.candidates]
    points = [resolved[i].point(layout, MAX) for i, layout in zip(places, layouts, strict=True)]
    found = highest(columns(points), coefficients.values)
    result: list[list[Chosen]] = [[] for _ in resolved]
    for i, layout, counted, load in zip(places, layouts, found.counted.tolist(), found.concurrency.tolist(), strict=True):
        result[i].append(Chosen(layout, counted, load))
    return result


def predict_many(
    queries: Sequence[Query], coefficients: Coefficients | None = None, *, prices: Sequence[float | None] | None = None
) -> list[Prediction]:
    """Answer many queries at once; `prices` are dollars an hour of all devices of each.

    Raises UserError for unknown names and impossible numbers. A deployment that cannot run, and one for which the model has no
    finite number, is a Prediction with a `reason`.
    """
    known = coefficients or shipped()
    return answer([resolve(query, known) for query in queries], known, prices=prices)


def answer(
    resolved: Sequence[Resolved], known: Coefficients, *, prices: Sequence[float | None] | None = None
) -> list[Prediction]:
    """Answer queries that were looked up, with the same coefficients; `prices` are dollars an hour of all devices of each."""
    answers: list[Prediction] = [
        Prediction(query=r.query, engine=r.engine.label, engine_measured=_measured(r.engine, known), reason=r.reason)
        for r in resolved
    ]
    running = [i for i, r in enumerate(resolved) if r.reason is None]
    if not running:
        return answers
    asked = [resolved[i] for i in running]
    chosen = [max(found, key=lambda one: one.counted) for found in options(asked, known)]
    work = columns([r.point(one.layout, r.query.concurrency) for r, one in zip(asked, chosen, strict=True)])
    best = np.array([one.concurrency for one in chosen])
    counted = np.array([one.counted for one in chosen])
    rates = np.array([r.query.rate or np.nan for r in asked])
    wanted = concurrency_at_rate(work, known.values, rates, counted)
    load = np.where(np.isnan(rates), np.where(np.isinf(work.concurrency), best, work.concurrency), wanted)
    outcome = serve(work, known.values, np.where(np.isnan(load), 1.0, np.maximum(load, 1.0)))
    for place, i in enumerate(running):
        if np.isnan(load[place]):
            reason = f"rate {rates[place]:g} is above the highest, {counted[place]:.3g} requests a second"
            answers[i] = replace(answers[i], reason=reason)
            continue
        price = prices[i] if prices else None
        answers[i] = _answer(asked[place], chosen[place], outcome, place, float(load[place]), price, known)
    return answers


def _answer(
    resolved: Resolved,
    chosen: Chosen,
    outcome: Outcome,
    place: int,
    concurrency: float,
    price: float | None,
    known: Coefficients,
) -> Prediction:
    layout, asked = chosen.layout, resolved.query.rate
    at_most = asked is None and resolved.query.concurrency == MAX
    load = "max" if at_most else "synchronous" if concurrency / layout.replicas <= 1 else "loaded"
    steady = float(outcome.rate[place])
    rate = chosen.counted if at_most else min(steady, chosen.counted) if asked is None else asked
    numbers = {
        "latency_s": float(outcome.latency[place]),
        "ttft_s": float(outcome.ttft[place]),
        "tpot_s": float(outcome.tpot[place]),
        "qps": rate,
    }
    which = _tier(resolved, known)
    widths = spread_of(known.errors, which, load, numbers["ttft_s"] / numbers["latency_s"])
    inflation = known.inflation(resolved.hardware.id, which)
    spans = {
        name: {level: interval(value, inflation * widths[name][k]) for k, level in enumerate(LEVELS)}
        for name, value in numbers.items()
    }
    per_dollar = None
    if price is not None:
        if not 0 < price < MAX:
            raise UserError(f"price: {price} is not a positive number", remedy="give dollars an hour of all devices")
        per_dollar = rate * 3600 / price
        spans["queries_per_dollar"] = {
            level: (low * 3600 / price, high * 3600 / price) for level, (low, high) in spans["qps"].items()
        }
    return _checked(
        Prediction(
            query=resolved.query,
            engine=resolved.engine.label,
            engine_measured=_measured(resolved.engine, known),
            tier=which,
            load=load,
            qps_steady=steady if asked is None else asked,
            concurrency=concurrency,
            layout=layout,
            price_per_hour=price,
            queries_per_dollar=per_dollar,
            intervals=spans,
            latency_s=numbers["latency_s"],
            ttft_s=numbers["ttft_s"],
            tpot_s=numbers["tpot_s"],
            qps=rate,
        )
    )


NUMBERS = ("latency_s", "ttft_s", "tpot_s", "qps", "qps_steady", "concurrency", "queries_per_dollar")


def _checked(answer: Prediction) -> Prediction:
    """The answer, if every number of it is finite and positive and lies in its intervals; else one without, and the reason.

    No answer leaves the predictor in another way.
    """
    numbers = {name: value for name in NUMBERS if (value := getattr(answer, name)) is not None}
    for name, spans in answer.intervals.items():
        for level, (low, high) in spans.items():
            numbers |= {f"{name}, {level} % from": low, f"{name}, {level} % to": high}
            if not low <= numbers[name] <= high:
                return _unanswered(answer, f"{name} of {numbers[name]:g} is not within {low:g} to {high:g}")
    wrong = next((f"{name} comes out as {value:g}" for name, value in numbers.items() if not 0 < value < MAX), None)
    return _unanswered(answer, wrong) if wrong else answer


def _unanswered(answer: Prediction, why: str) -> Prediction:
    return Prediction(
        query=answer.query, engine=answer.engine, engine_measured=answer.engine_measured, reason=f"no answer: {why}"
    )


def predict(
    model: str,
    format: str,
    hardware: str,
    count: int = 1,
    *,
    prompt_tokens: int,
    output_tokens: int,
    concurrency: float | str | None = None,
    rate: float | None = None,
    tensor_parallel: int | None = None,
    engine: str = "vllm",
    price_per_hour: float | None = None,
    coefficients: Coefficients | None = None,
) -> Prediction:
    """Latency, rate and cost of serving a model in a format on a number of devices.

    Args:
        model: hub id, or path of a folder with config.json.
        format: name of a format, e.g. `w8a8-int`.
        hardware: name of a device, e.g. `L40S`.
        count: number of devices.
        prompt_tokens: tokens of a prompt.
        output_tokens: tokens generated.
        concurrency: requests in flight (default 1, synchronous), or "max" for the highest rate; not with `rate`.
        rate: requests a second.
        tensor_parallel: devices that share one copy of the model; default all (at "max" the split with the highest rate).
        engine: `vllm`, `trtllm` or `sglang`, optionally with a version (`vllm==0.7.2`).
        price_per_hour: dollars of all devices together, for queries per dollar.
        coefficients: those of `calibrate`; default the shipped ones.

    Raises UserError for unknown names and impossible numbers. A deployment that cannot run is a Prediction with a `reason`.
    """
    if concurrency is not None and rate is not None:
        raise UserError("concurrency and rate are both given", remedy="give one of them")
    in_flight = parse_concurrency(concurrency) if isinstance(concurrency, str) else 1.0 if concurrency is None else concurrency
    query = Query(model, format, hardware, count, prompt_tokens, output_tokens, in_flight, rate, tensor_parallel, engine)
    return predict_many([query], coefficients, prices=[price_per_hour])[0]
