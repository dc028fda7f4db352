"""The kinds of steps: one file each, found here by name."""

from __future__ import annotations

from collections.abc import Mapping

from whichbits.studies.steps.compare import COMPARE
from whichbits.studies.steps.distribution import DISTRIBUTION
from whichbits.studies.steps.evaluate import EVALUATE
from whichbits.studies.steps.generate import GENERATE
from whichbits.studies.steps.probe import PROBE
from whichbits.studies.steps.quantize import QUANTIZE
from whichbits.studies.steps.serve import SERVE
from whichbits.studies.steps.step import Kind

KINDS: Mapping[str, Kind] = {kind.name: kind for kind in (QUANTIZE, PROBE, EVALUATE, GENERATE, COMPARE, DISTRIBUTION, SERVE)}
"""All kinds of steps by name."""


def preloaded() -> tuple[str, ...]:
    """Modules that the process which jobs are forked from imports once for all of them, each once.

    Importing them takes longer than most steps.
    """
    modules = (module for kind in KINDS.values() for module in kind.preload)
    return tuple(dict.fromkeys((__name__, "pyarrow.parquet", *modules)))
