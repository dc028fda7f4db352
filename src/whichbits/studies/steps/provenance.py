"""Where and with what a step ran."""

from __future__ import annotations

import platform
from dataclasses import asdict
from importlib import metadata
from typing import TYPE_CHECKING, Any

from whichbits.studies.steps.step import Job

if TYPE_CHECKING:
    from whichbits.engines.http.identity import EngineIdentity


def engine_versions() -> dict[str, str]:
    """Versions of the libraries that emulation computes with."""
    return {name: metadata.version(name) for name in ("torch", "transformers", "compressed-tensors")}


def provenance(job: Job, **more: Any) -> dict[str, Any]:
    """Where and with what a step ran."""
    return {
        "whichbits": metadata.version("whichbits"),
        "python": platform.python_version(),
        "cpus": sorted(job.cpus) if job.cpus is not None else None,
        **more,
    }


def stated(field: str, value: EngineIdentity | None) -> dict[str, Any]:
    """A field of a summary or provenance; none where there is nothing to state."""
    return {} if value is None else {field: asdict(value)}
