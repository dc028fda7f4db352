"""Prefill and decode apart: their times by size of the batch and length, and which of the two a load's latency is made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

import numpy as np

from whichbits.schema.prefill_decode import Phase, PrefillDecodeSummary
from whichbits.schema.step import Record
from whichbits.verdict.estimates import Estimate, Timed
from whichbits.verdict.findings import BatchRound, Findings, ServerTook
from whichbits.verdict.phases import BatchFinding, FootprintFinding, LatencyParts
from whichbits.verdict.reasons import OneRound, RoundInvalid, SpeedReason
from whichbits.verdict.round_statistics import RoundValue, mean_of_requests
from whichbits.verdict.serving_options import speed_problem
from whichbits.verdict.speed import Load, Series, average, is_rate, ratio, series

Place = tuple[str, Phase, int, int]
"""Deployment, phase, size of the batch, tokens."""


def batch_rounds(records: Sequence[Record], base: str) -> Iterator[BatchRound]:
    """The batches of finished steps, the base's beside those of each candidate."""
    for record in records:
        labels, found = record.labels, record.found(PrefillDecodeSummary)
        for name, entries in ((labels.candidate, found.batches), (base, found.base_batches)):
            for one in entries:
                valid = one.valid and all(is_rate(seconds) for seconds in one.seconds)
                yield BatchRound(
                    candidate=name,
                    against=labels.candidate,
                    deployment=str(labels.deployment),
                    session=found.session,
                    repeat=labels.repeat,
                    batches=one.model_copy(update={"valid": valid}),
                    steps=(record.key,),
                )


def servers_took(records: Sequence[Record], base: str) -> Iterator[ServerTook]:
    """What the servers of finished steps took."""
    for record in records:
        found = record.found(PrefillDecodeSummary)
        for name, footprint in ((record.labels.candidate, found.footprint), (base, found.base_footprint)):
            if footprint is not None:
                yield ServerTook(name, str(record.labels.deployment), footprint, (record.key,))


def footprint_findings(findings: Findings) -> Iterator[FootprintFinding]:
    """What each candidate's server takes, the base's first."""
    for name in dict.fromkeys((findings.base, *findings.candidates)):
        for deployment in dict.fromkeys(one.deployment for one in findings.footprints if one.candidate == name):
            here = [one for one in findings.footprints if (one.candidate, one.deployment) == (name, deployment)]
            starts, memory, tokens = (
                [value for one in here if (value := getattr(one.footprint, field)) is not None]
                for field in ("start_s", "peak_memory_bytes", "kv_cache_tokens")
            )
            yield FootprintFinding(
                candidate=name,
                deployment=deployment,
                start_s=float(np.median(starts)) if starts else None,
                peak_memory_bytes=int(np.median(memory)) if memory else None,
                kv_cache_tokens=int(np.median(tokens)) if tokens else None,
                steps=tuple(dict.fromkeys(key for one in here for key in one.steps)),
            )


def batch_findings(findings: Findings, *, level: float) -> tuple[BatchFinding, ...]:
    """Each candidate's times at each place, the base first."""
    names = tuple(dict.fromkeys((findings.base, *findings.candidates)))
    places: dict[Place, list[BatchRound]] = {}
    for one in findings.batch_rounds:
        places.setdefault(_place(one), []).append(one)
    found = (_finding(findings, name, place, here, level) for place, here in places.items() for name in names)
    return tuple(one for one in found if one is not None)


def _place(one: BatchRound) -> Place:
    return one.deployment, one.batches.phase, one.batches.batch_size, one.batches.tokens


def _finding(findings: Findings, name: str, place: Place, here: Sequence[BatchRound], level: float) -> BatchFinding | None:
    own = [one for one in here if one.candidate == name]
    valid = [one for one in own if one.batches.valid]
    times = _series(valid or own)
    seconds = average(times, level=level)
    if seconds is None:
        return None
    is_base = name == findings.base
    base = _series([one for one in here if one.candidate == findings.base and one.against == name and one.batches.valid])
    problem = speed_problem(findings, name, place[0])
    reasons: list[SpeedReason] = [
        RoundInvalid(round=one.repeat + 1, reason=reason)
        for one in own
        if not one.batches.valid
        for reason in (one.batches.reasons or (None,))
    ]
    reasons += [OneRound()] if valid and len(times) == 1 else []
    reasons += [problem] if problem is not None else []
    deployment, phase, size, tokens = place
    work = size * (tokens if phase == "prefill" else 1)
    shared = times.keys() & base.keys()
    return BatchFinding(
        candidate=name,
        deployment=deployment,
        phase=phase,
        batch_size=size,
        tokens=tokens,
        seconds=seconds,
        tokens_per_second=_inverse(seconds).scaled(work),
        speedup=None if is_base or not valid else ratio(base, times, level=level),
        rounds=len(times) if is_base else len(shared),
        valid=bool(valid) and problem is None,
        reasons=tuple(dict.fromkeys(reasons)),
        steps=tuple(dict.fromkeys(key for one in own for key in one.steps)),
    )


def _series(rounds: Sequence[BatchRound]) -> Series:
    """Seconds by round: the mean of its batches. The base's are there once, though each candidate's step holds a copy."""
    found: dict[tuple[str, int], RoundValue] = {}
    for one in rounds:
        if one.batches.seconds:
            found[one.session, one.repeat] = mean_of_requests(np.array(one.batches.seconds), 1.0)
    return found


def _inverse(seconds: Timed) -> Timed:
    """Batches per second."""
    if isinstance(seconds, Estimate):
        return Estimate(value=1 / seconds.value, low=1 / seconds.high, high=1 / seconds.low, level=seconds.level)
    return seconds.model_copy(update={"value": 1 / seconds.value})


def latency_parts(
    findings: Findings, batches: Sequence[BatchFinding], measured: Sequence[Load], *, level: float
) -> Iterator[LatencyParts]:
    """For each load with a number of requests in flight whose lengths lie among those that were measured: its two parts.

    Workloads whose prompts share tokens are left out, as what a prefix cache holds takes no prefill.

    A request waits for the prefill of as many prompts as there are requests in flight, then takes a decode step for each
    further token, at the context half-way through its output. Between sizes and lengths times are interpolated linearly.
    """
    tables: dict[tuple[str, str, Phase], dict[tuple[int, int], float]] = {}
    for one in batches:
        if one.valid:
            table = tables.setdefault((one.candidate, one.deployment, one.phase), {})
            table[one.batch_size, one.tokens] = one.seconds.value
    for load in measured:
        workload = findings.workloads.get(load.workload)
        latency = average(series([r for r in load.own if r.valid], "latency_s"), level=level)
        if workload is None or workload.shared or latency is None or load.concurrency is None:
            continue
        prompt, output = workload.mean_prompt_tokens, workload.mean_output_tokens
        prefill = between(tables.get((load.candidate, load.deployment, "prefill"), {}), load.concurrency, prompt)
        step = between(tables.get((load.candidate, load.deployment, "decode"), {}), load.concurrency, prompt + output // 2)
        if prefill is not None and step is not None:
            yield LatencyParts(
                candidate=load.candidate,
                workload=load.workload,
                deployment=load.deployment,
                load_level=load.load_level,
                prefill_s=prefill,
                decode_s=(output - 1) * step,
                measured_s=latency.value,
            )


def between(table: Mapping[tuple[int, int], float], size: int, tokens: int) -> float | None:
    """Seconds at a size and length, linear between the nearest that were measured; None outside of them."""
    sizes, lengths = (sorted({key[axis] for key in table}) for axis in (0, 1))
    of_size = [(number, _linear([(n, table[number, n]) for n in lengths if (number, n) in table], tokens)) for number in sizes]
    return _linear([(number, value) for number, value in of_size if value is not None], size)


def _linear(points: Sequence[tuple[int, float]], at: int) -> float | None:
    """The value between two neighbours; None beyond the first and the last."""
    exact = dict(points).get(at)
    if exact is not None:
        return exact
    for (low, first), (high, last) in pairwise(points):
        if low < at < high:
            return first + (last - first) * (at - low) / (high - low)
    return None
