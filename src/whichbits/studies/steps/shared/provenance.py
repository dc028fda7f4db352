"""Where and with what a step ran."""

from __future__ import annotations

import platform
from importlib import metadata
from typing import Any

from whichbits.schema.provenance import Provenance
from whichbits.studies.steps.step import Job


def engine_versions() -> dict[str, str]:
    """Versions of the libraries that emulation computes with."""
    return {name: metadata.version(name) for name in ("torch", "transformers", "compressed-tensors")}


def provenance(job: Job, **more: Any) -> Provenance:
    """Where and with what a step ran; `more` are fields of `Provenance`, those that are None left out."""
    return Provenance(
        whichbits=metadata.version("whichbits"),
        python=platform.python_version(),
        cpus=tuple(sorted(job.cpus)) if job.cpus is not None else None,
        **{name: value for name, value in more.items() if value is not None},
    )
