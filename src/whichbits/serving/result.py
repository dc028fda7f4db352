"""What a measured load level hands on."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import ConfigDict

from whichbits.schema.serve import Evidence, LoadLevelSummary, Metrics
from whichbits.serving.distribution import distribution
from whichbits.serving.observation import Observation, RequestRow, row
from whichbits.serving.steady import Steady


class LoadLevelResult(LoadLevelSummary):
    """One load level of one workload, measured once, with its requests."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    evidence: Evidence
    rows: tuple[RequestRow, ...]

    def level(self) -> LoadLevelSummary:
        """Everything but the requests."""
        return LoadLevelSummary(**{name: getattr(self, name) for name in LoadLevelSummary.model_fields})


def rows_of(seen: Sequence[Observation]) -> tuple[RequestRow, ...]:
    """Rows of the measured requests, warm-up left out, in the order they were sent."""
    return tuple(row(one) for one in seen if not one.warmup)


def metrics_of(seen: Sequence[Observation], rows: Sequence[RequestRow], window: Steady | None) -> Metrics:
    """Metrics of a load level from its measured requests and its steady window."""
    gaps = [gap for one in seen if not one.warmup and one.error is None for gap in one.gaps_s]
    return Metrics(
        requests_per_second=window.requests_per_second if window else None,
        output_tokens_per_second=window.output_tokens_per_second if window else None,
        ttft_s=distribution([one.ttft_s for one in rows if one.ttft_s is not None]),
        itl_s=distribution(gaps),
        tpot_s=distribution([one.tpot_s for one in rows if one.tpot_s is not None]),
        latency_s=distribution([one.latency_s for one in rows if one.latency_s is not None]),
    )
