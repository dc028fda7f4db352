"""Measured loads in the form of GuideLLM's reports (`benchmarks.json`), with the moments of each request.

Its ITL is our TPOT, and its TPOT, (last token − start) / output tokens, contains the TTFT. Requests of the warm-up are not
kept, so they are not among those written. Moments are by the wall clock: the loads of a step follow one another, and the last
ends when the step was measured.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NotRequired, TypedDict

import numpy as np

from whichbits.core.errors import UserError
from whichbits.schema.serve import LoadLevelSummary, ServeSummary
from whichbits.schema.workload import Workload
from whichbits.serving.result import RequestRow

FORM = "0.8.1"
"""The version of GuideLLM whose form it is."""


class Timings(TypedDict):
    """Seconds since 1970; None of what a failed request has not got."""

    targeted_start: float
    request_start: float
    resolve_start: float
    first_token_iteration: float | None
    last_token_iteration: float | None
    token_iterations: int
    request_end: float
    resolve_end: float


class RequestInfo(TypedDict):
    """When a request was answered, and why not."""

    timings: Timings
    error: str | None


class Request(TypedDict):
    """A request in GuideLLM's form."""

    info: RequestInfo
    prompt_tokens: int
    output_tokens: int


class Requests(TypedDict):
    """Requests of a load, by how they ended."""

    successful: list[Request]
    errored: list[Request]
    incomplete: list[Request]


class Strategy(TypedDict):
    """How requests are sent."""

    type_: str
    streams: NotRequired[int]
    max_concurrency: NotRequired[int]
    rate: NotRequired[float]


class Backend(TypedDict):
    """What was asked."""

    kind: str
    model: str


class Config(TypedDict):
    """What was asked, and how."""

    strategy: Strategy
    backend: Backend


class Benchmark(TypedDict):
    """A load in GuideLLM's form; metrics are its summaries by name."""

    config: Config
    metrics: dict[str, dict[str, int] | dict[str, dict[str, float]]]
    requests: Requests


Arrivals = Literal["poisson", "constant", "other"]


@dataclass(frozen=True)
class Measured:
    """One load level, measured once."""

    level: LoadLevelSummary
    rows: tuple[RequestRow, ...]
    arrivals: Arrivals
    """How requests arrive, where they come at a rate."""
    began: float
    """Seconds since 1970."""


def measured_in(summary: ServeSummary, items: Path, workload: Workload, ended: float) -> tuple[Measured, ...]:
    """The candidate's loads in a `serve` step that was measured until `ended`, with its table of requests."""
    import pyarrow.parquet as parquet

    keys = [metric.key for metric in summary.metrics if metric.per == "request"]
    rows: dict[str, list[RequestRow]] = {}
    for one in parquet.read_table(items).to_pylist():
        if one["role"] == "candidate":
            values, lengths = {key: one[key] for key in keys}, (one["prompt_tokens"] or 0, one["output_tokens"] or 0)
            row = RequestRow(one["request"], one["start_s"], values, *lengths, ok=bool(one["ok"]))
            rows.setdefault(one["load_level"], []).append(row)
    took = [max((_end(row) for row in rows.get(level.load_level, ())), default=0.0) for level in summary.load_levels]
    began = ended - sum(took)
    found: list[Measured] = []
    for level, seconds in zip(summary.load_levels, took, strict=True):
        at_rate = level.capacity_run is None and level.rate in workload.rates
        shape: Arrivals = "poisson" if workload.burstiness in (None, 1) else "other"
        shape = "constant" if workload.burstiness == "constant" else shape
        found.append(Measured(level, tuple(rows.get(level.load_level, ())), shape if at_rate else "other", began))
        began += seconds
    return tuple(found)


def write(path: Path, model: str, loads: Sequence[Measured]) -> None:
    """Write a report. Raises UserError where the file cannot be written."""
    metadata = {"version": 2, "guidellm_version": FORM, "written_by": "whichbits"}
    report = {"metadata": metadata, "benchmarks": [_benchmark(load, model) for load in loads]}
    try:
        path.write_text(json.dumps(report, allow_nan=False), encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"export: {path} cannot be written ({error.strerror or error})", remedy="name a file in a folder that exists"
        ) from error


def _benchmark(load: Measured, model: str) -> Benchmark:
    fine, failed = ([_request(row, load.began) for row in load.rows if row.ok is ok] for ok in (True, False))
    answered = [row for row in load.rows if row.ok]
    return {
        "config": {"strategy": _strategy(load), "backend": {"kind": "openai_http", "model": model}},
        "metrics": {
            "request_totals": {
                "successful": len(fine), "errored": len(failed), "incomplete": 0, "total": len(load.rows),
            },
            **{name: {"successful": {"mean": float(np.mean(values))}} for name, values in _times(answered) if values},
        },
        "requests": {"successful": fine, "errored": failed, "incomplete": []},
    }  # fmt: skip


def _strategy(load: Measured) -> Strategy:
    level = load.level
    if level.concurrency == 1:
        return {"type_": "synchronous"}
    if level.concurrency is not None:
        return {"type_": "concurrent", "streams": level.concurrency, "max_concurrency": level.concurrency}
    if load.arrivals == "other" or level.rate is None:
        return {"type_": level.load_level}
    return {"type_": load.arrivals, "rate": level.rate}


def _times(rows: Sequence[RequestRow]) -> Iterator[tuple[str, list[float]]]:
    """GuideLLM's means, by its names."""
    yield "request_latency", [_of(row, "latency_s") for row in rows]
    yield "time_to_first_token_ms", [1000 * _of(row, "ttft_s") for row in rows]
    yield "inter_token_latency_ms", [1000 * _of(row, "tpot_s") for row in rows if row.output_tokens > 1]
    yield (
        "time_per_output_token_ms",
        [1000 * (_last(row) - row.start_s) / row.output_tokens for row in rows if row.output_tokens],
    )


def _request(row: RequestRow, began: float) -> Request:
    start = began + row.start_s
    late = _of(row, "due_ttft_s") - _of(row, "ttft_s") if row.ok else 0.0
    end = began + _end(row) if row.ok else start
    timings = Timings(
        targeted_start=start - late,
        request_start=start,
        resolve_start=start,
        first_token_iteration=start + _of(row, "ttft_s") if row.ok else None,
        last_token_iteration=began + _last(row) if row.ok else None,
        token_iterations=_chunks(row) if row.ok else 0,
        request_end=end,
        resolve_end=end,
    )
    info = RequestInfo(timings=timings, error=None if row.ok else "failed")
    return Request(info=info, prompt_tokens=row.prompt_tokens, output_tokens=row.output_tokens)


def _end(row: RequestRow) -> float:
    """When it ended, seconds since the load began."""
    return row.start_s + _of(row, "latency_s")


def _last(row: RequestRow) -> float:
    """When its last token came, seconds since the load began."""
    return row.start_s + _of(row, "ttft_s") + _of(row, "tpot_s") * max(row.output_tokens - 1, 0)


def _chunks(row: RequestRow) -> int:
    """Parts of its stream that brought tokens, by the mean gap between them."""
    gap = row.values.get("itl_s")
    return 1 + round(_of(row, "tpot_s") * (row.output_tokens - 1) / gap) if gap else 1


def _of(row: RequestRow, key: str) -> float:
    """A metric of a request; 0 where it has none, as a single token has no time between tokens."""
    return row.values.get(key) or 0.0
