"""Imported loads as results of load levels: the same metrics, the same steady window, the same validity as our own."""

from __future__ import annotations

from collections.abc import Sequence

from whichbits.schema.metrics import ServingMetric
from whichbits.schema.workload import Lengths, Workload
from whichbits.serving.evidence import of_requests
from whichbits.serving.importers.importer import ImportedLoad
from whichbits.serving.metric import Metric
from whichbits.serving.metrics.registry import all_metrics
from whichbits.serving.result import LoadLevelResult, metrics_of, rows_of
from whichbits.serving.steady import steady
from whichbits.serving.validity import judge


def metrics_but(lacks: frozenset[str]) -> tuple[Metric, ...]:
    """The metrics that can be computed."""
    return tuple(metric for metric in all_metrics() if metric.described.key not in lacks)


def described(lacks: frozenset[str]) -> tuple[ServingMetric, ...]:
    """What they are."""
    return tuple(metric.described for metric in metrics_but(lacks))


def result_of(load: ImportedLoad, lacks: frozenset[str], workload: Workload) -> LoadLevelResult:
    """The load level with its metrics, and whether it is valid by what its requests tell."""
    metrics, level, seen = metrics_but(lacks), load.level, load.seen
    window = steady(seen, level, until_s=load.until_s)
    found = metrics_of(seen, metrics, window)
    evidence = of_requests(seen, level, found, window)
    if lacks and level.concurrency is None:
        evidence = evidence.model_copy(update={"dispatch_delay_s": None})
    reasons = judge(evidence, found, level, workload)
    return LoadLevelResult(
        load_level=level.name,
        concurrency=level.concurrency,
        rate=level.rate,
        arrivals=level.arrival_kind,
        valid=not reasons,
        reasons=reasons,
        metrics=found,
        evidence=evidence,
        rows=rows_of(seen, metrics),
    )


def workload_of(loads: Sequence[ImportedLoad], name: str) -> Workload:
    """What the requests were, as a workload."""
    seen = [one for load in loads for one in load.seen if one.answered]
    prompts, outputs = ([getattr(one, field) for one in seen] for field in ("prompt_tokens", "output_tokens"))
    streams = sorted({load.level.concurrency for load in loads if load.level.concurrency is not None})
    rates = sorted({load.level.rate for load in loads if load.level.rate is not None})
    return Workload(
        name=name,
        prompt_tokens=_lengths(prompts, least=4),
        output_tokens=_lengths(outputs, least=2),
        synchronous=1 in streams,
        concurrency=tuple(count for count in streams if count > 1),
        rate=tuple(rates) or None,
        counted=True,
    )


def _lengths(counts: Sequence[int], least: int) -> int | Lengths:
    """The one length of all, or their distribution."""
    if len(set(counts)) == 1 and counts[0] >= least:
        return counts[0]
    mean = sum(counts) / len(counts)
    stdev = (sum((count - mean) ** 2 for count in counts) / len(counts)) ** 0.5
    return Lengths(mean=mean, stdev=stdev, min=min(counts), max=max(counts))


def mean_prompt(load: ImportedLoad) -> float | None:
    """Tokens of a prompt, on average; None where no request was answered."""
    return _mean([one.prompt_tokens for one in load.seen if one.answered])


def mean_output(load: ImportedLoad) -> float | None:
    """Tokens of an answer, on average."""
    return _mean([one.output_tokens for one in load.seen if one.answered])


def _mean(counts: Sequence[int]) -> float | None:
    return sum(counts) / len(counts) if counts else None
