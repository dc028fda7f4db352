"""Importers by name: those of the package, of installed packages (entry points `whichbits.importers`), and registered ones."""

from __future__ import annotations

from pathlib import Path

from whichbits.core.entry_points import Registry
from whichbits.core.errors import UserError
from whichbits.core.foreign import damaged
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
    if not path.exists():
        raise UserError(f"from: {path} is not there", remedy="give a file or folder of results")
    importers = [IMPORTERS.get(name) for name in IMPORTERS.names()]
    for importer in importers:
        try:
            if importer.recognizes(path):
                return importer.read(path, metric)
        except (AttributeError, KeyError, IndexError, TypeError) as error:  # what an importer takes for a table may be none
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            raise damaged(path, f"is not as {importer.name} writes it ({reason})") from error
    raise UserError(
        f"from: {path} holds no results that are known here",
        remedy=f"give {'; '.join(f'{importer.reads} ({importer.name})' for importer in importers)}",
    )
