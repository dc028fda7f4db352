"""From the records of a study to findings: reads the tables, joins candidate with base, and lists what is missing."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from whichbits.core.crossing import Point
from whichbits.core.errors import UserError
from whichbits.schema.compare import CompareSummary
from whichbits.schema.deployment import Deployment
from whichbits.schema.distribution import DistributionSummary
from whichbits.schema.evaluate import EvaluateSummary
from whichbits.schema.generate import GenerateSummary
from whichbits.schema.labels import IMPORTED
from whichbits.schema.metrics import Measure, Measured, ServingMetric
from whichbits.schema.prefill_decode import PrefillDecodeSummary
from whichbits.schema.probe import ProbeSummary
from whichbits.schema.quantize import QuantizeSummary
from whichbits.schema.serve import ClientCeiling, LoadLevelSummary, Metrics, ServeSummary
from whichbits.schema.served_weights import Agreement
from whichbits.schema.session import WeightsBehind
from whichbits.schema.step import Record
from whichbits.schema.workload import Workload
from whichbits.verdict.findings import EMULATED, CapacityRound, Findings, Kernel, Round, SimilaritySample, Size
from whichbits.verdict.judged import judged_findings
from whichbits.verdict.natural_output import natural_rounds
from whichbits.verdict.pairing import read_columns
from whichbits.verdict.prefill_decode import batch_rounds, servers_took
from whichbits.verdict.reasons import Failure
from whichbits.verdict.replies import check_same_items, replied_tasks, reply_measures
from whichbits.verdict.scored_tasks import (
    against_base,
    base_against_itself,
    emulated_against_served,
    first_runs,
    place_of,
    provenance_of,
)
from whichbits.verdict.speed import is_rate
from whichbits.verdict.statistics import FloatArray
from whichbits.verdict.verdict import ServedWeights

if TYPE_CHECKING:
    from pyarrow import ChunkedArray

UNPROBED = frozenset({"url", IMPORTED})
"""Labels of engines that cannot be asked for their kernels."""


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
    first = first_runs(by_kind.get("evaluate", []))
    replied = tuple(replied_tasks(list(first.values())))
    check_same_items(replied, base, fewer=stopped_early)
    return Findings(
        base=base,
        formats=dict(formats),
        tasks=tuple(against_base(first, base, stopped_early=stopped_early)),
        noise=tuple(base_against_itself(by_kind.get("evaluate", []), first, base)),
        emulation=tuple(emulated_against_served(first)),
        incomplete=_incomplete(records, base),
        failed=_failed(records),
        replied=replied,
        reply_measures=reply_measures(list(first.values())),
        judged=tuple(judged_findings(first, by_kind.get("judge", []))),
        similarity=(*_text_similarity(by_kind.get("compare", [])), *_distributions(by_kind.get("distribution", []))),
        measures=_measures(done),
        rounds=tuple(_rounds(by_kind.get("serve", []), base)),
        capacity_rounds=tuple(_capacity_rounds(by_kind.get("serve", []), base)),
        batch_rounds=tuple(batch_rounds(by_kind.get("prefill_decode", []), base)),
        footprints=tuple(servers_took(by_kind.get("prefill_decode", []), base)),
        natural_rounds=tuple(natural_rounds(by_kind.get("serve", []))),
        metrics=_metrics(by_kind.get("serve", [])),
        client_ceiling=_client_ceiling(by_kind.get("serve", [])),
        kernels=_kernels(records),
        elsewhere=frozenset(str(one.labels.deployment) for one in by_kind.get("serve", []) if one.labels.engine == IMPORTED),
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


def _incomplete(records: Sequence[Record], base: str) -> dict[tuple[str, str], tuple[str, ...]]:
    """Tasks without a result by (candidate, engine): failed, missing, or without any record.

    Where it is served, every candidate has every task; in emulation the base has every task that a candidate has.
    """
    first = [record for record in records if record.kind == "evaluate" and record.labels.repeat == 0]
    places = [(candidate, engine, task) for candidate, task, engine in map(place_of, first)]
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
                record.labels.candidate, engine, provenance_of(engine), record.labels.prompts or "", measure.key,
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
    table = read_columns(record.items, list(dict.fromkeys(named)))
    for measure in shown:
        known = table[measure.column].is_valid().to_numpy()
        sums = _numbers(table[measure.column])[known]
        if len(sums) > 1:
            yield measure, sums, np.ones(len(sums)) if measure.weights is None else _numbers(table[measure.weights])[known]


def _numbers(column: ChunkedArray) -> FloatArray:
    """A column's values, (rows,), NaN where there is none."""
    return np.asarray(column.to_numpy(), dtype=np.float64)


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
        roles, load_levels = (table[name].to_numpy() for name in ("role", "load_level"))
        finished = table["ok"].fill_null(False).to_numpy().astype(bool)
        throughputs = frozenset(metric.key for metric in found.metrics if metric.throughput)
        for role, entries in (("candidate", found.load_levels), ("base", found.base_load_levels)):
            for entry in entries:
                if entry.capacity_run is not None:
                    continue
                mine = (roles == role) & (load_levels.astype(str) == entry.load_level) & finished
                requests = {name: _numbers(table[name])[mine] for name in of_requests}
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
                    arrivals=entry.arrivals,
                    rate=entry.rate if entry.arrivals == "rate" else None,
                    throughputs=throughputs,
                    cached=entry.evidence.prefix_cache_hit_rate if entry.evidence else None,
                    server_started=entry.evidence.server_started if entry.evidence else None,
                    client_share=_client_share(entry, found.client_ceiling),
                    abilities=entry.evidence.abilities if entry.evidence else None,
                )


def _client_share(level: LoadLevelSummary, ceiling: ClientCeiling | None) -> float | None:
    """Chunks that came each second over those that the client could read."""
    tokens, evidence = level.metrics.output_tokens_per_second, level.evidence
    if ceiling is None or tokens is None or evidence is None:
        return None
    return tokens / (evidence.tokens_per_chunk or 1.0) / ceiling.tokens_per_second


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


def _client_ceiling(records: Sequence[Record]) -> ClientCeiling | None:
    """The lowest of all sessions."""
    found = [one for record in records if (one := record.found(ServeSummary).client_ceiling) is not None]
    return min(found, key=lambda one: one.tokens_per_second, default=None)


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
    """The probe's word on each candidate in the serving engine.

    At an address of the user's, and where another tool measured, there is nothing to probe.
    """
    kernels: dict[str, Kernel] = {}
    for record in records:
        if record.labels.engine in UNPROBED:
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
        case ServeSummary(weights=WeightsBehind() as both) | PrefillDecodeSummary(weights=WeightsBehind() as both):
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
