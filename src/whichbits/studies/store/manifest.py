"""What a store knows of its study beside the cells: enough to judge and to report without model, engine or network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from whichbits.core.errors import UserError
from whichbits.schema.deployment import Deployment, EngineUsed
from whichbits.schema.labels import Labels
from whichbits.schema.step import Cell, Items, Record
from whichbits.schema.workload import Workload
from whichbits.studies.store.store import Store

FILE = "study.json"


class LedgerCell(BaseModel):
    """A cell of the plan, by what its key is made of and what it means."""

    model_config = ConfigDict(frozen=True)

    key: str
    kind: str
    labels: Labels
    items: Items | None = None
    """How many items; None for kinds that are not counted in items, and in stores whose keys held the number."""


class Ledger(BaseModel):
    """A study as it was last run; written by the run, and derived from its specification on that machine."""

    model_config = ConfigDict(frozen=True)

    study: str
    specification: str
    command: str
    model: str
    notes: tuple[str, ...]
    base: str
    base_bytes: int | None = None
    """None where the base's weights are not known."""
    formats: dict[str, str]
    margin: float
    seed: int
    hardware: str
    engines: tuple[EngineUsed, ...]
    workloads: Mapping[str, Workload]
    deployments: Mapping[str, Deployment]
    checkpoints: Mapping[str, str] = {}
    """Folders of the base and of the candidates that were checkpoints already."""
    prices: str
    """Name of the price list."""
    cells: tuple[LedgerCell, ...]
    seconds: dict[str, float] = {}
    """Wall-clock seconds of the last run, by part."""
    version: str

    def records(self, store: Store) -> list[Record]:
        """What analysis sees of each cell."""
        return [store.record_of(cell.kind, cell.key, cell.labels, cell.items) for cell in self.cells]

    def write(self, folder: Path) -> None:
        """Write the ledger into a store."""
        aside = folder / f".{FILE}"
        aside.write_text(self.model_dump_json(indent=1, exclude_none=True), encoding="utf-8")
        aside.replace(folder / FILE)


def read(folder: Path) -> Ledger:
    """The ledger of a store. Raises UserError where the folder is none."""
    path = folder / FILE
    try:
        return Ledger.model_validate_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"store: {folder} holds no study ({FILE} cannot be read)", remedy="name a store, as studies/demo, or run the study"
        ) from error
    except ValueError as error:
        raise UserError(f"store: {path} is damaged", remedy="run the study again; finished cells are kept") from error


def entries(cells: Iterable[Cell]) -> tuple[LedgerCell, ...]:
    """Ledger entries of a plan's cells; one that several candidates share (a probe of their format) has an entry for each."""
    return tuple(LedgerCell(key=cell.key, kind=cell.kind, labels=cell.labels, items=cell.items) for cell in cells)
