"""Importers by name: those of the package, of installed packages (entry points `whichbits.importers`), and registered ones."""

from __future__ import annotations

from pathlib import Path

from whichbits.core.entry_points import Registry
from whichbits.core.foreign import read_known
from whichbits.studies.store.importers.importer import ImportedRun, Importer

GROUP = "whichbits.importers"
"""Of entry points."""
_HERE = "whichbits.studies.store.importers"

IMPORTERS: Registry[Importer] = Registry(
    named_in="from",
    what="importer",
    group=GROUP,
    base=(f"{_HERE}.importer", "Importer"),
    ours={
        "lm-eval": (f"{_HERE}.lm_eval", "LmEvalImporter"),
        "evalplus": (f"{_HERE}.evalplus", "EvalPlusImporter"),
        "lighteval": (f"{_HERE}.lighteval", "LightEvalImporter"),
        "inspect": (f"{_HERE}.inspect_logs", "InspectImporter"),
    },
)


def read(path: Path, metric: str | None = None) -> ImportedRun:
    """The results of another tool in a file or folder.

    Raises UserError where no importer knows them, and where they cannot be read.
    """
    importers = [IMPORTERS.get(name) for name in IMPORTERS.names()]
    return read_known(path, importers, lambda importer: importer.read(path, metric), "results")
