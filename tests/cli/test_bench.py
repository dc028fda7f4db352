"""The table of `bench`: a column a metric, by what the metrics say of themselves."""

from __future__ import annotations

from whichbits.api.bench import MeasuredLoad
from whichbits.cli.bench import _row
from whichbits.schema.metrics import ServingMetric
from whichbits.schema.serve import Distribution, Metrics, Percentile
from whichbits.serving.metrics.registry import all_metrics

OWN = tuple(metric.described for metric in all_metrics())
LATENCY = Distribution(n=500, mean=1.5, percentiles={"99": Percentile(value=3.0, low=2.0, high=4.0), "50": None})


def load(described: tuple[ServingMetric, ...], **metrics: object) -> MeasuredLoad:
    measured = Metrics.model_validate({"requests_per_second": 2.0, "output_tokens_per_second": 64.0, **metrics})
    return MeasuredLoad("rag", 1, "concurrency 4", True, (), measured, described, None)


def test_columns_of_our_metrics() -> None:
    row = _row(load(OWN, latency_s=LATENCY))
    assert list(row) == [
        "workload", "round", "load", "requests_per_s", "output_tokens_per_s", "latency_s", "latency_p99_s", "ttft_s",
        "ttft_p99_s", "itl_s", "itl_p99_s", "valid", "weights",
    ]  # fmt: skip
    assert (row["requests_per_s"], row["latency_s"], row["latency_p99_s"], row["ttft_s"]) == (2.0, 1.5, 3.0, None)


def test_a_metric_of_another_package_has_its_columns() -> None:
    level = ServingMetric(key="goodput", title="Goodput", unit="1/s", better="higher", per="level")
    request = ServingMetric(key="joules", title="Energy", unit="J", better="lower", per="request")
    row = _row(load((level, request), goodput=1.25, joules=LATENCY))
    assert (row["goodput"], row["joules"], row["joules_p99"]) == (1.25, 1.5, 3.0)
