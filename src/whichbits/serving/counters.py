"""What the serving engine's own counters say of a load."""

from __future__ import annotations

from collections.abc import Mapping

_PREEMPTED = "vllm:num_preemptions_total"
_QUERIES, _HITS, _GENERATED = (
    "vllm:prefix_cache_queries_total",
    "vllm:prefix_cache_hits_total",
    "vllm:generation_tokens_total",
)


def prefix_cache_hit_rate(before: Mapping[str, float], after: Mapping[str, float]) -> float | None:
    """Prompt tokens found in the prefix cache / prompt tokens looked up, between two readings; None where unknown."""
    if _QUERIES not in after or _HITS not in after:
        return None
    queries = after[_QUERIES] - before.get(_QUERIES, 0.0)
    return (after[_HITS] - before.get(_HITS, 0.0)) / queries if queries > 0 else 0.0


def tokens_missing(before: Mapping[str, float], after: Mapping[str, float], ours: int) -> float | None:
    """Share of `ours` that the server does not count between two readings: it began to count anew; None where unknown."""
    if _GENERATED not in after or not ours:
        return None
    return max(1 - (after[_GENERATED] - before.get(_GENERATED, 0.0)) / ours, 0.0)


def preemptions(before: Mapping[str, float], after: Mapping[str, float]) -> float | None:
    """Requests preempted between two readings; None where unknown."""
    return after[_PREEMPTED] - before.get(_PREEMPTED, 0.0) if _PREEMPTED in after else None


def foreign_tokens(before: Mapping[str, float], after: Mapping[str, float], ours: int) -> float | None:
    """Share of the tokens generated between two readings that were not `ours`; None where unknown."""
    if _GENERATED not in after:
        return None
    generated = after[_GENERATED] - before.get(_GENERATED, 0.0)
    return max(generated - ours, 0.0) / generated if generated > 0 else 0.0
