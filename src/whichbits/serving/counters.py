"""The serving engine's own counters, and whether it serves the model at all."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import httpx

from whichbits.errors import UserError

_SAMPLE = re.compile(r"^(?P<name>[a-zA-Z_:][\w:]*)(\{.*\})? (?P<value>\S+)")
_QUERIES, _HITS, _GENERATED = (
    "vllm:prefix_cache_queries_total",
    "vllm:prefix_cache_hits_total",
    "vllm:generation_tokens_total",
)


@dataclass(frozen=True)
class Endpoint:
    """An OpenAI-compatible server and the model asked of it. `url` has no trailing /v1."""

    url: str
    model: str
    api_key: str | None = None

    @property
    def headers(self) -> dict[str, str]:
        """HTTP headers that carry the key."""
        return {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}


def check_endpoint(endpoint: Endpoint) -> None:
    """Raise UserError where the server does not answer or does not serve the model."""
    try:
        reply = httpx.get(f"{endpoint.url}/v1/models", headers=endpoint.headers, timeout=30)
        reply.raise_for_status()
        models = [entry["id"] for entry in reply.json()["data"]]
    except (httpx.HTTPError, ValueError, KeyError, httpx.InvalidURL) as error:
        raise UserError(
            f"url {endpoint.url} gives no list of models: {error}", remedy="start the server, or correct the url"
        ) from error
    if endpoint.model not in models:
        raise UserError(f"model {endpoint.model!r} is not served at {endpoint.url}", remedy=f"it serves {', '.join(models)}")


def read_counters(endpoint: Endpoint) -> Mapping[str, float]:
    """Prometheus samples of /metrics by name, summed over their labels; empty where the server has none.

    Raises UserError where the server does not answer any more.
    """
    try:
        reply = httpx.get(f"{endpoint.url}/metrics", headers=endpoint.headers, timeout=30)
    except httpx.HTTPError as error:
        raise UserError(
            f"url {endpoint.url} has stopped answering: {error}", remedy="see the last lines of the server's log"
        ) from error
    if reply.status_code != httpx.codes.OK:
        return {}
    return parse_counters(reply.text)


def parse_counters(text: str) -> dict[str, float]:
    """Samples of the Prometheus text format by name, summed over their labels."""
    totals: dict[str, float] = {}
    for line in text.splitlines():
        if sample := _SAMPLE.match(line):
            totals[sample["name"]] = totals.get(sample["name"], 0.0) + float(sample["value"])
    return totals


def prefix_cache_hit_rate(before: Mapping[str, float], after: Mapping[str, float]) -> float | None:
    """Prompt tokens found in the prefix cache / prompt tokens looked up, between two readings; None where unknown."""
    if _QUERIES not in after or _HITS not in after:
        return None
    queries = after[_QUERIES] - before.get(_QUERIES, 0.0)
    return (after[_HITS] - before.get(_HITS, 0.0)) / queries if queries > 0 else 0.0


def foreign_tokens(before: Mapping[str, float], after: Mapping[str, float], ours: int) -> float | None:
    """Share of the tokens generated between two readings that were not `ours`; None where unknown."""
    if _GENERATED not in after:
        return None
    generated = after[_GENERATED] - before.get(_GENERATED, 0.0)
    return max(generated - ours, 0.0) / generated if generated > 0 else 0.0
