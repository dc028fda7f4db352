"""The metrics of serving by name; an installed package adds one by an entry point of the group `whichbits.serving_metrics`."""

from __future__ import annotations

from whichbits.core.entry_points import Registry
from whichbits.serving.metric import Metric

GROUP = "whichbits.serving_metrics"
_HERE = "whichbits.serving.metrics"

METRICS: Registry[Metric] = Registry(
    "metrics",
    "metric of serving",
    GROUP,
    ("whichbits.serving.metric", "Metric"),
    {
        "requests_per_second": (f"{_HERE}.requests_per_second", "RequestsPerSecond"),
        "output_tokens_per_second": (f"{_HERE}.output_tokens_per_second", "OutputTokensPerSecond"),
        "latency_s": (f"{_HERE}.latency", "Latency"),
        "ttft_s": (f"{_HERE}.ttft", "TimeToFirstToken"),
        "itl_s": (f"{_HERE}.itl", "InterTokenLatency"),
        "tpot_s": (f"{_HERE}.tpot", "TimePerOutputToken"),
        "due_ttft_s": (f"{_HERE}.due_ttft", "TimeToFirstTokenFromDue"),
        "due_latency_s": (f"{_HERE}.due_latency", "LatencyFromDue"),
    },
    own_name=lambda metric: metric.described.key,
)


def all_metrics() -> tuple[Metric, ...]:
    """What is measured: our metrics, then those of installed packages by name. Raises UserError as `Registry.get`."""
    return tuple(METRICS.get(name) for name in METRICS.names())


def packages() -> dict[str, str]:
    """Name and version of the packages that bring metrics."""
    return {package: version for name in METRICS.names() for package, version in METRICS.packages(name).items()}
