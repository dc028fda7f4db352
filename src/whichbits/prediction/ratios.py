"""How much faster one format is than another on the same device: a ratio, with an interval of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from whichbits.hardware.catalogue import find
from whichbits.prediction.model.coefficients import Coefficients
from whichbits.prediction.model.tiers import LEVELS, TIERS, interval
from whichbits.prediction.predictor import Prediction
from whichbits.prediction.query import Query

BASES = ("bf16", "fp16")
"""Formats that others are compared with, the first that is there."""


@dataclass(frozen=True)
class Speedup:
    """How many times as fast as the format `over`: in requests a second at the highest rate, else in latency."""

    over: str
    value: float
    intervals: Mapping[int, tuple[float, float]]


def question(query: Query) -> tuple[object, ...]:
    """All of a query but its format and what may go with it: the number of devices and their split."""
    q = query
    return q.model, q.hardware, q.engine, q.prompt_tokens, q.output_tokens, q.concurrency, q.rate


def speedups(answers: Sequence[Prediction], coefficients: Coefficients) -> list[Speedup | None]:
    """The speed of each answer over that of 16 bit, where `answers` has it for the same question."""
    bases: dict[tuple[object, ...], Prediction] = {}
    for name in reversed(BASES):
        bases |= {question(a.query): a for a in reversed(answers) if a.load and a.query.format == name}
    found = [bases.get(question(a.query)) for a in answers]
    return [speedup(a, b, coefficients) if b is not None and b is not a else None for a, b in zip(answers, found, strict=True)]


def speedup(answer: Prediction, base: Prediction, coefficients: Coefficients) -> Speedup | None:
    """Speed of `answer` over that of `base`, another format's answer to the same question; None where one has no answer."""
    if answer.load is None or base.load is None:
        return None
    if answer.load == "max":
        return _spanned(answer, base, "qps", _quotient(answer.qps, base.qps), coefficients)
    return _spanned(answer, base, "latency_s", _quotient(base.latency_s, answer.latency_s), coefficients)


def rate_a_device(answer: Prediction, base: Prediction, coefficients: Coefficients) -> Speedup | None:
    """Requests a second and device of `answer` over those of `base`, which may have another number of devices and load."""
    if answer.load is None or base.load is None:
        return None
    value = _quotient(answer.qps, base.qps) * base.query.count / answer.query.count
    return _spanned(answer, base, "qps", value, coefficients)


def _quotient(over: float | None, under: float | None) -> float:
    assert over is not None and under is not None, "an answer has all its numbers"
    return over / under


def _spanned(answer: Prediction, base: Prediction, quantity: str, value: float, coefficients: Coefficients) -> Speedup:
    """The ratio with its intervals.

    What is got wrong of a device, an engine or a model, two formats share in part: so the half-width is a quantile of the
    errors of such ratios, and never more than the quotient of the two answers' own intervals has.
    """
    assert answer.tier is not None and base.tier is not None, "an answer has a tier"
    tier = max(answer.tier, base.tier, key=TIERS.index)
    table, inflation = coefficients.ratio_errors[tier], coefficients.inflation(find(answer.query.hardware).id, tier)
    kinds = table if "loaded" in (answer.load, base.load) else {answer.load, base.load}
    spans = {}
    for place, level in enumerate(LEVELS):
        own = inflation * max(table[kind][place] for kind in kinds if kind is not None)
        apart = sum(_half_width(one, quantity, level) for one in (answer, base))
        spans[level] = interval(value, min(own, apart))
    return Speedup(base.query.format, value, spans)


def _half_width(answer: Prediction, quantity: str, level: int) -> float:
    low, high = answer.intervals[quantity][level]
    return float(np.log(high / low)) / 2
