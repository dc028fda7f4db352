"""From the records of a study to findings: reads the tables, joins candidate with base, and lists what is missing."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import numpy as np

from whichbits.core.crossing import Point
from whichbits.core.errors import UserError
from whichbits.schema.compare import CompareSummary
from whichbits.schema.deployment import Deployment
from whichbits.schema.distribution import DistributionSummary
from whichbits.schema.evaluate import EvaluateSummary, Sampled
from whichbits.schema.generate import GenerateSummary
from whichbits.schema.metrics import Measure, Measured, ServingMetric
from whichbits.schema.probe import ProbeSummary
from whichbits.schema.quantize import QuantizeSummary
from whichbits.schema.serve import Metrics, ServeSummary, WeightsBehind
from whichbits.schema.served_weights import Agreement
from whichbits.schema.step import Record
from whichbits.schema.workload import Workload
from whichbits.verdict.estimates import Provenance
from whichbits.verdict.findings import EMULATED, CapacityRound, Findings, Kernel, Round, ScoredTask, SimilaritySample, Size
from whichbits.verdict.pairing import SCORE_COLUMNS, Columns, PairingError, among, pair_scores, read_columns
from whichbits.verdict.reasons import Failure
from whichbits.verdict.replies import check_same_items, replied_tasks, reply_measures
from whichbits.verdict.speed import is_rate
from whichbits.verdict.statistics import FloatArray
from whichbits.verdict.verdict import ServedWeights

SCORED_AS = ("metric", "temperature", "top_p", "samples", "reducer")
"""What of a summary says how scores came about."""


def collect(
    records: Sequence[Record],
    base: str,
    formats: Mapping[str, str],
    *,
    deployments: Mapping[str, Deployment] | None = None,
    workloads: Mapping[str, Workload] | None = None,
    base_bytes: int | None = None,
    stopped_early: bool = False,
) -> Findings:
    """Read and join the results of a study.

    `formats` maps each candidate to its format; `deployments` and `workloads` are by name.
    Where candidates have `stopped_early`, the base may have answered more items than they, which are then left out.
    `base_bytes` is the size of the base's weights, needed where no `quantize` step holds the base.

    Failed and missing steps become `failures`. Raises PairingError where two runs that should be compared did not
    answer the same prompts in the same engine at the same concurrency, and UserError for a price that is no finite number above
    0. A round that calls itself valid though a rate or a time of it is no such number is invalid.
    """
    done = [record for record in records if record.state == "done"]
    by_kind = {kind: [record for record in done if record.kind == kind] for kind in {record.kind for record in records}}
    scored = _first_repeats(by_kind.get("evaluate", []))
    replied = tuple(replied_tasks(list(scored.values())))
    check_same_items(replied, base)
    tables = {key: read_columns(record.items, SCORE_COLUMNS) for key, record in scored.items()}
    return Findings(
        base=base,
        formats=dict(formats),
        tasks=tuple(_against_base(scored, tables, base, stopped_early=stopped_early)),
        noise=tuple(_base_against_itself(by_kind.get("evaluate", []), scored, tables, base)),
        emulation=tuple(_emulated_against_served(scored, tables)),
        incomplete=_incomplete(records, base),
        failed=_failed(records),
        replied=replied,
        reply_measures=reply_measures(list(scored.values())),
        similarity=(*_text_similarity(by_kind.get("compare", [])), *_distributions(by_kind.get("distribution", []))),
        measures=_measures(done),
        rounds=tuple(_rounds(by_kind.get("serve", []), base)),
        capacity_rounds=tuple(_capacity_rounds(by_kind.get("serve", []), base)),
        metrics=_metrics(by_kind.get("serve", [])),
        kernels=_kernels(records),
        served_weights=tuple(_served_weights(done, base)),
        sizes=tuple(_sizes(by_kind.get("quantize", []), base, base_bytes)),
        deployments=_checked(deployments or {}),
        workloads=dict(workloads or {}),
        failures=tuple(_failure(record) for record in records if record.state != "done"),
    )


def _failure(record: Record) -> Failure:
    """A step that gave no result."""
    state: Literal["failed", "missing"] = "missing" if record.state == "missing" else "failed"
    return Failure(kind=record.kind, labels=record.labels.shown(), state=state, error=record.error or None)


def _provenance(engine: str) -> Provenance:
    return "emulated" if engine == EMULATED else "measured"


Scored = dict[tuple[str, str, str], Record]
"""First runs of evaluate steps by (candidate, task, engine)."""
Tables = Mapping[tuple[str, str, str], Columns]


def _place(record: Record) -> tuple[str, str, str]:
    """Candidate, task and engine of an evaluation."""
    return record.labels.candidate, str(record.labels.task), str(record.labels.engine)


def _first_repeats(records: Sequence[Record]) -> Scored:
    scored: Scored = {}
    for record in records:
        if record.labels.repeat == 0:
            key = _place(record)
            if key in scored:
                raise PairingError(f"two evaluate steps for {', '.join(key)}: {scored[key].key} and {record.key}")
            scored[key] = record
    return scored


def _join(
    left: Record,
    right: Record,
    tables: tuple[Columns, Columns],
    *,
    candidate: str,
    engine: str,
    same: Sequence[str] = (*SCORED_AS, "concurrency", "engine"),
    fewer: bool = False,
) -> ScoredTask:
    """Pair two runs of one task; `left` is the one that differences are taken from, `same` what they must share.

    With `fewer`, `right` may have stopped before `left`.
    """
    task = str(left.labels.task)
    what = f"{task} ({engine}), {candidate} against {left.labels.candidate}"
    for name in same:
        theirs, ours = (_shared(record, name) for record in (left, right))
        if theirs != ours:
            raise PairingError(f"{what}: {name} differs, {theirs!r} and {ours!r}")
    found = left.found(EvaluateSummary)
    return ScoredTask(
        candidate=candidate,
        task=task,
        engine=engine,
        provenance=_provenance(engine),
        available=_most(found),
        pair=pair_scores(among(tables[0], tables[1]) if fewer else tables[0], tables[1], chance=found.chance, what=what),
        steps=(right.key, left.key),
        uninformative=found.uninformative,
        mode=found.mode,
    )


def _shared(record: Record, name: str) -> object:
    """What two runs of a task must have in common."""
    found = record.found(EvaluateSummary)
    if name == "engine":
        return record.provenance.engine
    return getattr(found.sampled, name, None) if name in Sampled.model_fields else getattr(found, name)


def _most(summary: EvaluateSummary) -> int | None:
    """How many different items the task can have; None: more than anyone asks for."""
    if "most" in summary.model_fields_set:
        return summary.most
    # Stores from before `most` was written: only generators made items, and none of them stated an end.
    if summary.kind == "generated":
        return None
    return summary.n if summary.available is None else summary.available


def _against_base(scored: Scored, tables: Tables, base: str, *, stopped_early: bool) -> Iterator[ScoredTask]:
    for key, record in scored.items():
        candidate, task, engine = key
        reference = (base, task, engine)
        if candidate != base and reference in scored:
            both = (tables[reference], tables[key])
            yield _join(scored[reference], record, both, candidate=candidate, engine=engine, fewer=stopped_early)


def _base_against_itself(records: Sequence[Record], scored: Scored, tables: Tables, base: str) -> Iterator[ScoredTask]:
    """The base's second run against its first; it may run at another concurrency, which is part of the noise."""
    for record in records:
        _, task, engine = _place(record)
        first = (base, task, engine)
        if record.labels.candidate == base and record.labels.repeat == 1 and first in scored:
            both = (tables[first], read_columns(record.items, SCORE_COLUMNS))
            yield _join(scored[first], record, both, candidate=base, engine=engine, same=SCORED_AS)


def _emulated_against_served(scored: Scored, tables: Tables) -> Iterator[ScoredTask]:
    for key, record in scored.items():
        for other, served in scored.items():
            if key[2] == EMULATED and other[:2] == key[:2] and other[2] != EMULATED:
                both = (tables[other], tables[key])
                yield _join(served, record, both, candidate=key[0], engine=other[2], same=SCORED_AS)


def _incomplete(records: Sequence[Record], base: str) -> dict[tuple[str, str], tuple[str, ...]]:
    """Tasks without a result by (candidate, engine): failed, missing, or without any record.

    Where it is served, every candidate has every task; in emulation the base has every task that a candidate has.
    """
    first = [record for record in records if record.kind == "evaluate" and record.labels.repeat == 0]
    places = [(candidate, engine, task) for candidate, task, engine in map(_place, first)]
    expected = {(candidate, engine, task) for candidate, engine, _ in places if engine != EMULATED for _, _, task in places}
    expected |= {(base, engine, task) for _, engine, task in places} | set(places)
    done = {place for place, record in zip(places, first, strict=True) if record.state == "done"}
    gaps: dict[tuple[str, str], list[str]] = {}
    for candidate, engine, task in sorted(expected - done):
        gaps.setdefault((candidate, engine), []).append(task)
    return {key: tuple(tasks) for key, tasks in gaps.items()}


def _failed(records: Sequence[Record]) -> dict[str, Failure]:
    """First failed step of each candidate."""
    failed: dict[str, Failure] = {}
    for record in records:
        if record.state == "failed":
            failed.setdefault(record.labels.candidate, _failure(record))
    return failed


def _text_similarity(records: Sequence[Record]) -> Iterator[SimilaritySample]:
    for record in records:
        engine = str(record.labels.engine)
        for measure, sums, weights in _sums(record, record.found(CompareSummary).measures):
            yield SimilaritySample(
                record.labels.candidate, engine, _provenance(engine), record.labels.prompts or "", measure.key,
                sums, weights, measure.exponential, (record.key,),
            )  # fmt: skip


def _distributions(records: Sequence[Record]) -> Iterator[SimilaritySample]:
    """Next-token distributions come from transformers, which emulates the format's arithmetic."""
    for record in records:
        for measure, sums, weights in _sums(record, record.found(DistributionSummary).measures):
            yield SimilaritySample(
                record.labels.candidate, record.labels.engine or EMULATED, "emulated", record.labels.text or "", measure.key,
                sums, weights, measure.exponential, (record.key,),
            )  # fmt: skip


def _sums(record: Record, measured: Sequence[Measured]) -> Iterator[tuple[Measure, FloatArray, FloatArray]]:
    """Sums and weights (units,) of each measure that is shown, where two units or more have it."""
    shown = [entry.measure for entry in measured if entry.measure.shown]
    named = [name for measure in shown for name in (measure.column, measure.weights) if name is not None]
    columns = read_columns(record.items, list(dict.fromkeys(named)))
    for measure in shown:
        sums = columns[measure.column]
        weights = columns[measure.weights] if measure.weights is not None else [1.0] * len(sums)
        known = [(value, weight) for value, weight in zip(sums, weights, strict=True) if value is not None]
        if len(known) > 1:
            table = np.array(known, dtype=np.float64)
            yield measure, table[:, 0], table[:, 1]


def _measures(records: Sequence[Record]) -> tuple[Measure, ...]:
    """What is shown of each measure of similarity, once."""
    found = [record.summary for record in records if isinstance(record.summary, CompareSummary | DistributionSummary)]
    shown = {entry.measure.key: entry.measure for summary in found for entry in summary.measures if entry.measure.shown}
    return tuple(shown.values())


def _rounds(records: Sequence[Record], base: str) -> Iterator[Round]:
    for record in records:
        labels, found = record.labels, record.found(ServeSummary)
        of_requests = [metric.key for metric in found.metrics if metric.per == "request"]
        table = read_columns(record.items, ("role", "load_level", "ok", *of_requests), former={"load_level": "rung"})
        roles, load_levels, finished = (np.array(table[name], dtype=object) for name in ("role", "load_level", "ok"))
        throughputs = frozenset(metric.key for metric in found.metrics if metric.throughput)
        for role, entries in (("candidate", found.load_levels), ("base", found.base_load_levels)):
            for entry in entries:
                if entry.capacity_run is not None:
                    continue
                mine = (roles == role) & (load_levels.astype(str) == entry.load_level) & finished.astype(bool)
                requests = {name: np.array(table[name], dtype=np.float64)[mine] for name in of_requests}
                problems = tuple(no_numbers(found.metrics, entry.metrics, requests)) if entry.valid else ()
                yield Round(
                    candidate=base if role == "base" else labels.candidate,
                    against=labels.candidate,
                    workload=str(labels.workload),
                    deployment=str(labels.deployment),
                    load_level=entry.load_level,
                    concurrency=entry.concurrency,
                    session=found.session,
                    repeat=labels.repeat,
                    valid=entry.valid and not problems,
                    reasons=(*entry.reasons, *problems),
                    metrics=entry.metrics,
                    requests=requests,
                    steps=(record.key,),
                    throughputs=throughputs,
                    cached=entry.evidence.prefix_cache_hit_rate if entry.evidence else None,
                )


def _capacity_rounds(records: Sequence[Record], base: str) -> Iterator[CapacityRound]:
    for record in records:
        labels, found = record.labels, record.found(ServeSummary)
        for name, entries in ((labels.candidate, found.load_levels), (base, found.base_load_levels)):
            for entry in entries:
                if (run := entry.capacity_run) is not None:
                    yield CapacityRound(
                        candidate=name,
                        workload=str(labels.workload),
                        deployment=str(labels.deployment),
                        session=found.session,
                        repeat=labels.repeat,
                        load_level=entry.load_level,
                        point=Point(run.rate, math.inf if run.worst is None else run.worst),
                        steps=(record.key,),
                    )


def _metrics(records: Sequence[Record]) -> tuple[ServingMetric, ...]:
    """What was measured, once each."""
    found = {metric.key: metric for record in records for metric in record.found(ServeSummary).metrics}
    return tuple(found.values())


def no_numbers(described: Sequence[ServingMetric], metrics: Metrics, requests: Mapping[str, FloatArray]) -> Iterator[str]:
    """What of a round that calls itself valid is no finite number above 0, and so cannot enter a figure.

    Said as the measurement says why a round is not valid.
    """
    for metric in described:
        if metric.always and metric.per == "level" and not is_rate(rate := metrics.of(metric.key)):
            yield f"{metric.key} is {rate}, not a finite number above 0"
        if metric.always and metric.per == "request":
            values = requests[metric.key]
            wrong = int(np.sum(~(np.isfinite(values) & (values > 0))))
            if wrong or not len(values):
                yield f"{metric.key} of {wrong} of {len(values)} requests is not a finite number above 0"


def _checked(deployments: Mapping[str, Deployment]) -> dict[str, Deployment]:
    """Deployments whose prices can be divided by."""
    for name, entry in deployments.items():
        price = entry.price_per_hour
        if price is not None and not is_rate(price):
            raise UserError(
                f"deployment {name}: price_per_hour = {price!r} is not a finite number above 0",
                remedy="give the price in dollars by the hour, or leave it out where there is none",
            )
    return dict(deployments)


def _kernels(records: Sequence[Record]) -> dict[str, Kernel]:
    """The probe's word on each candidate in the serving engine; at an address of the user's there is nothing to probe."""
    kernels: dict[str, Kernel] = {}
    for record in records:
        if record.labels.engine == "url":
            kernels.setdefault(record.labels.candidate, Kernel("unknown", None, None))
        elif record.kind == "probe" and record.state == "done":
            found = record.found(ProbeSummary)
            kernels[record.labels.candidate] = Kernel(found.status, found.kernel, found.reason)
    return kernels


def _served_weights(records: Sequence[Record], base: str) -> Iterator[ServedWeights]:
    """Of each candidate at an address, the worst of its runs that were compared; one that was not where none was."""
    found: dict[str, ServedWeights] = {}
    for record in records:
        for one in weights_of(record, base):
            before = found.get(one.candidate)
            if before is None or before.distance is None or one.other:
                found[one.candidate] = one
    yield from found.values()


def weights_of(record: Record, base: str) -> Iterator[ServedWeights]:
    """What a step says of the weights behind the addresses that it asked: of a `serve` step the candidate's and the base's."""
    candidate = record.labels.candidate
    match record.summary:
        case EvaluateSummary(weights=Agreement() as one) | GenerateSummary(weights=Agreement() as one):
            named = {candidate: one}
        case ServeSummary(weights=WeightsBehind() as both):
            named = {base: both.base, candidate: both.candidate}
        case _:
            return
    for name, one in named.items():
        yield ServedWeights(candidate=name, **dict(one))


def _sizes(records: Sequence[Record], base: str, base_bytes: int | None) -> Iterator[Size]:
    if base_bytes is not None and all(record.labels.candidate != base for record in records):
        yield Size(base, base_bytes, None, ())
    for record in records:
        found = record.found(QuantizeSummary)
        yield Size(record.labels.candidate, found.bytes, found.bits_per_weight, (record.key,))
