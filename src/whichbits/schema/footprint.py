"""What a server takes to serve a checkpoint."""

from __future__ import annotations

from whichbits.schema.frozen import Stored


class Footprint(Stored):
    """Of one server; None of what nobody says."""

    start_s: float | None = None
    """From its start until it answered: loading the weights and all else that an engine does first."""
    peak_memory_bytes: int | None = None
    """Most memory of the machine that its processes have held, each at its own time; not that of accelerators."""
    kv_cache_tokens: int | None = None
    """Tokens of all requests together that its cache of keys and values has room for."""
