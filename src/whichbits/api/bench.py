"""`whichbits bench`: how fast a checkpoint is served."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from whichbits.api.arguments import parse_workload, part_of_a_study, served_at
from whichbits.api.weights import ServedWeights, weights_of
from whichbits.studies.study import run_part

if TYPE_CHECKING:
    from whichbits.schema.metrics import ServingMetric
    from whichbits.schema.serve import Metrics
    from whichbits.schema.step import Record
    from whichbits.schema.workload import Workload


@dataclass(frozen=True)
class MeasuredLoad:
    """One load level of a workload, measured once."""

    workload: str
    round: int
    """From 1."""
    load: str
    """'synchronous', 'concurrency N' or 'rate R'."""
    valid: bool
    reasons: tuple[str, ...]
    """Why it is not valid."""
    metrics: Metrics
    """Rates, and means and percentiles of latencies; docs/serving.md has each one's formula."""
    described: tuple[ServingMetric, ...]
    """What the metrics are."""
    weights: ServedWeights | None
    """None unless a server at an address was asked."""


def bench(
    model: str,
    workload: Sequence[str],
    *,
    url: str | None = None,
    served_model_name: str | None = None,
    concurrency: Sequence[int] | None = None,
    rate: float | None = None,
    rounds: int = 1,
    store: Path | None = None,
    seed: int = 0,
    fresh: bool = False,
    export: Path | None = None,
) -> tuple[MeasuredLoad, ...]:
    """Measure how fast a checkpoint is served, for each workload, round and load level. Raises UserError.

    `concurrency` are numbers of requests in flight (1: one at a time) and `rate` is Poisson arrivals a second, in place of the
    workload's own loads. `url` is where a server serves it already, and `served_model_name` the name it does so under, where
    it lists several. With `fresh` it is measured though the store has results of the same server and workload. `export` is a
    file that is written with all loads and their requests in GuideLLM's form.
    """
    from whichbits.schema.serve import ServeSummary

    workloads = [_at(parse_workload(name), concurrency, rate) for name in workload]
    entries = [one.model_dump(mode="json") for one in workloads]
    engine = served_at({"base": (url, served_model_name)})
    part = part_of_a_study("bench", model, workloads=entries, rounds=rounds, engine=engine, seed=seed)
    records = run_part(part, store, {"serve"}, fresh=fresh)
    if export is not None:
        _export(export, model, records, {one.name: one for one in workloads})
    return tuple(
        MeasuredLoad(
            workload=str(record.labels.workload),
            round=record.labels.repeat + 1,
            load=level.load_level,
            valid=level.valid,
            reasons=level.reasons,
            metrics=level.metrics,
            described=record.found(ServeSummary).metrics,
            weights=weights_of(record),
        )
        for record in records
        for level in record.found(ServeSummary).load_levels
    )


def _export(path: Path, model: str, records: Sequence[Record], workloads: Mapping[str, Workload]) -> None:
    """Write the loads of these steps in GuideLLM's form."""
    from whichbits.schema.serve import ServeSummary
    from whichbits.serving.guidellm_report import measured_in, write

    loads = [
        load
        for record in records
        for load in measured_in(
            record.found(ServeSummary),
            record.items,
            workloads[str(record.labels.workload)],
            record.provenance.measured_at or 0.0,
        )
    ]
    write(path, model, loads)


def _at(workload: Workload, concurrency: Sequence[int] | None, rate: float | None) -> Workload:
    """The workload at other loads, where some are given. Raises UserError for a load that is none."""
    if concurrency is None and rate is None:
        return workload
    from whichbits.serving.workload import parse_workload as checked

    levels = sorted(set(concurrency or ()))
    loads = {"synchronous": 1 in levels, "concurrency": [level for level in levels if level != 1], "rate": rate}
    return checked({**workload.model_dump(mode="json"), **loads})
