"""Importers of speeds by name: those of the package, of installed packages (entry points), and registered ones."""

from __future__ import annotations

from pathlib import Path

from whichbits.core.entry_points import Registry
from whichbits.core.errors import UserError
from whichbits.core.foreign import damaged
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
    if not path.exists():
        raise UserError(f"from: {path} is not there", remedy="give a file or folder of results")
    importers = [SPEED_IMPORTERS.get(name) for name in SPEED_IMPORTERS.names()]
    for importer in importers:
        try:
            if importer.recognizes(path):
                return importer.read(path)
        except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:  # what is taken for a table may be none
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            raise damaged(path, f"is not as {importer.name} writes it ({reason})") from error
    raise UserError(
        f"from: {path} holds no speeds that are known here",
        remedy=f"give {'; '.join(f'{importer.reads} ({importer.name})' for importer in importers)}",
    )
