"""Importers of speeds by name: those of the package, of installed packages (entry points), and registered ones."""

from __future__ import annotations

from pathlib import Path

from whichbits.core.entry_points import Registry
from whichbits.core.errors import UserError
from whichbits.core.foreign import read_known
from whichbits.serving.importers.importer import ImportedRun, SpeedImporter

GROUP = "whichbits.speed_importers"
"""Of entry points."""
_HERE = "whichbits.serving.importers"

SPEED_IMPORTERS: Registry[SpeedImporter] = Registry(
    named_in="from",
    what="importer of speeds",
    group=GROUP,
    base=(f"{_HERE}.importer", "SpeedImporter"),
    ours={
        "vllm-bench": (f"{_HERE}.vllm_bench", "VllmBenchImporter"),
        "guidellm": (f"{_HERE}.guidellm", "GuideLlmImporter"),
        "aiperf": (f"{_HERE}.aiperf", "AiPerfImporter"),
        "inference-perf": (f"{_HERE}.inference_perf", "InferencePerfImporter"),
    },
)


def read(path: Path) -> ImportedRun:
    """The speeds of another tool in a file or folder.

    Raises UserError where no importer knows them, and where they cannot be read.
    """
    importers = [SPEED_IMPORTERS.get(name) for name in SPEED_IMPORTERS.names()]
    return read_known(path, importers, lambda importer: _answered(importer.read(path)), "speeds")


def _answered(run: ImportedRun) -> ImportedRun:
    """The run, where its server has answered something. Raises UserError."""
    if not any(one.answered for load in run.loads for one in load.seen):
        errors = [one.error or "no token" for load in run.loads for one in load.seen]
        raise UserError(
            f"from: {run.path} has no request that was answered (the first: {errors[0]})",
            remedy="look at the server's log, and measure again",
        )
    return run
