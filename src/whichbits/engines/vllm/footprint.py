"""What a server takes: time to start and memory of one that was started here, and what any vLLM says of its cache."""

from __future__ import annotations

import re
from pathlib import Path

from whichbits.engines.errors import EngineError
from whichbits.engines.http.connection import Connection
from whichbits.engines.http.prometheus import cache_settings
from whichbits.engines.http.requests import HttpClient
from whichbits.engines.vllm import server_records as records
from whichbits.schema.footprint import Footprint

_PEAK = re.compile(r"^VmHWM:\s+(\d+) kB", re.MULTILINE)


def footprint(connection: Connection, registry: Path | None = None) -> Footprint:
    """What the server at an address takes; time and memory only where it was started on this machine."""
    try:
        with HttpClient(connection) as client:
            answer = client.find("/metrics")
    except EngineError:
        answer = None
    tokens = None if answer is None else kv_cache_tokens(answer.text)
    own = records.running_at(registry or records.default_registry(), connection.url)
    if own is None:
        return Footprint(kv_cache_tokens=tokens)
    server, start_s = own
    return Footprint(start_s=start_s, peak_memory_bytes=_peak(records.session_members(server.pid)), kv_cache_tokens=tokens)


def kv_cache_tokens(metrics: str) -> int | None:
    """As vLLM's /metrics has it, in older versions as blocks and tokens of a block. None where it does not say."""
    labels = cache_settings(metrics)
    if labels.get("kv_cache_size_tokens", "").isdecimal():
        return int(labels["kv_cache_size_tokens"])
    blocks, size = labels.get("num_gpu_blocks", ""), labels.get("block_size", "")
    return int(blocks) * int(size) if blocks.isdecimal() and size.isdecimal() else None


def _peak(pids: list[int]) -> int | None:
    """Sum of the peaks of these processes, bytes."""
    found = []
    for pid in pids:
        try:
            status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
        except OSError:  # it has just ended
            continue
        found += [1024 * int(kib) for kib in _PEAK.findall(status)]
    return sum(found) or None
