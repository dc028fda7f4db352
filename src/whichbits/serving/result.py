"""The result of a measured load level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import ConfigDict

from whichbits.schema.serve import Distribution, Evidence, LoadLevelSummary, Metrics
from whichbits.serving.distribution import distribution
from whichbits.serving.metric import LevelMetric, Metric, RequestMetric
from whichbits.serving.observation import Observation
from whichbits.serving.steady import Steady


@dataclass(frozen=True)
class RequestRow:
    """One measured request as `items.parquet` keeps it."""

    request: int
    start_s: float
    """Seconds since the load level began."""
    values: Mapping[str, float | None]
    """By key of the metrics of requests; None where it failed, or has none."""
    prompt_tokens: int
    output_tokens: int
    ok: bool

    def columns(self) -> dict[str, float | None]:
        """Its columns."""
        named = {"prompt_tokens": self.prompt_tokens, "output_tokens": self.output_tokens, "ok": self.ok}
        return {"request": self.request, "start_s": self.start_s, **self.values, **named}


class LoadLevelResult(LoadLevelSummary):
    """One load level of one workload, measured once, with its requests."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    evidence: Evidence
    rows: tuple[RequestRow, ...]

    def table(self, role: str) -> list[dict[str, str | float | None]]:
        """Rows of `items.parquet`, of the base or the candidate."""
        return [
            {"role": role, "load_level": self.load_level, "concurrency": self.concurrency, **row.columns()} for row in self.rows
        ]

    def level(self) -> LoadLevelSummary:
        """Everything but the requests."""
        return LoadLevelSummary(**{name: getattr(self, name) for name in LoadLevelSummary.model_fields})


def rows_of(seen: Sequence[Observation], metrics: Sequence[Metric]) -> tuple[RequestRow, ...]:
    """Rows of the measured requests, warm-up left out, in the order they were sent."""
    of_requests = [metric for metric in metrics if isinstance(metric, RequestMetric)]
    return tuple(row(one, of_requests) for one in seen if not one.warmup)


def row(seen: Observation, metrics: Sequence[RequestMetric]) -> RequestRow:
    """What is kept of one request."""
    values = {metric.described.key: metric.of(seen) if seen.answered else None for metric in metrics}
    return RequestRow(seen.request, seen.start_s, values, seen.prompt_tokens, seen.output_tokens, ok=seen.answered)


def metrics_of(seen: Sequence[Observation], metrics: Sequence[Metric], window: Steady | None) -> Metrics:
    """Metrics of a load level from its measured requests and its steady window."""
    answered = [one for one in seen if one.answered and not one.warmup]
    found: dict[str, Distribution | float | None] = {}
    for metric in metrics:
        match metric:
            case RequestMetric():
                found[metric.described.key] = distribution(metric.sample(answered))
            case LevelMetric():
                found[metric.described.key] = metric.of(answered, window)
    return Metrics.model_validate(found)
