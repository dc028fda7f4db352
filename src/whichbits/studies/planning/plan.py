"""A plan: every cell of a study with its key, in an order in which each comes after what it reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from whichbits.schema.step import Cell
from whichbits.studies.specification.schema import Specification
from whichbits.studies.steps.planned import Planned
from whichbits.studies.store.store import Store


@dataclass(frozen=True)
class Served:
    """A candidate that is served: where its checkpoint is or will be, or the address that serves it already."""

    name: str
    folder: Path | None = None
    made_by: Cell | None = None
    url: str | None = None

    def checkpoint(self, store: Store) -> Path:
        """Folder of the checkpoint."""
        if self.made_by is not None:
            return store.directory(self.made_by) / "checkpoint"
        assert self.folder is not None, f"{self.name} has neither a folder nor a cell that makes one"
        return self.folder


@dataclass(frozen=True)
class Plan:
    """All cells of a study."""

    specification: Specification
    base: str
    cells: tuple[Planned, ...]
    served: Mapping[str, Served]

    def missing(self, store: Store) -> tuple[Planned, ...]:
        """Cells without a result in the store, in order; one that several candidates share is there once."""
        each = {planned.cell.key: planned for planned in reversed(self.cells)}
        return tuple(one for one in self.cells if each[one.cell.key] is one and not store.done(one.cell))
