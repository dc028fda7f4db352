"""An engine's own counters: the samples of /metrics in Prometheus' text format."""

from __future__ import annotations

import re

from whichbits.engines.http.requests import HttpClient

_LABEL = re.compile(r'(\w+)="([^"]*)"')
_SAMPLE = re.compile(r"^(?P<name>[a-zA-Z_:][\w:]*)(\{(?P<labels>.*)\})?\s+(?P<value>[^\s]+)")


def read_metrics(client: HttpClient) -> dict[str, float]:
    """Samples of /metrics by name, summed over their labels; empty where the server has none. Raises EngineError."""
    answer = client.find("/metrics")
    return parse_metrics(answer.text) if answer is not None else {}


def parse_metrics(text: str) -> dict[str, float]:
    """Samples of Prometheus' text format by name, summed over their labels; lines that are none are passed over."""
    totals: dict[str, float] = {}
    for line in text.splitlines():
        sample = _SAMPLE.match(line)
        if sample is None:
            continue
        try:
            value = float(sample["value"])
        except ValueError:
            continue
        totals[sample["name"]] = totals.get(sample["name"], 0.0) + value
    return totals


def cache_settings(text: str) -> dict[str, str]:
    """How vLLM's key-value cache is set up, by the names of its settings; empty where no line of /metrics says it."""
    for line in text.splitlines():
        sample = _SAMPLE.match(line)
        if sample is not None and sample["name"] == "vllm:cache_config_info":
            return dict(_LABEL.findall(sample["labels"] or ""))
    return {}
