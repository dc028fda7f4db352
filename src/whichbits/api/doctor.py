"""`whichbits doctor`: what a study finds on this machine, and how much load its client can make."""

from __future__ import annotations

from pathlib import Path

from whichbits.engines.doctor import Check
from whichbits.engines.doctor import doctor as examine

FEW_STREAMS = 50


def doctor(folder: Path | None = None) -> list[Check]:
    """Examine this machine, and measure the load client for two seconds. folder: where studies are kept."""
    return [*examine(folder), _client()]


def _client() -> Check:
    """How many streams of 50 tokens a second the client keeps up."""
    try:
        from whichbits.serving.ceiling import client_ceiling
    except ModuleNotFoundError as error:
        return Check(
            "load client", "warn", f"{error.name} is not installed", "pip install 'whichbits[measure]' to measure speeds"
        )
    found = client_ceiling()
    if found is None:
        return Check("load client", "fail", "nothing arrived from a server on this machine", "allow connections to 127.0.0.1")
    detail = f"{found.streams} streams of 50 tokens a second, with the server on the same {found.cores} processors"
    if found.streams < FEW_STREAMS:
        return Check("load client", "warn", detail, "measure higher loads from another machine, or when this one is idle")
    return Check("load client", "ok", detail)
