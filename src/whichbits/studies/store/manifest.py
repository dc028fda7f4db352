"""The study manifest: enough of a study to judge and to report without model, engine or network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from whichbits.core.errors import UserError
from whichbits.schema.deployment import Deployment, EngineUsed
from whichbits.schema.early_stopping import EarlyStoppingPlan
from whichbits.schema.labels import Labels
from whichbits.schema.step import Items, Record, Step
from whichbits.schema.workload import Workload
from whichbits.studies.specification.judge import JudgeChoice
from whichbits.studies.store.store import Store

FILE = "study.json"

SCHEMA = 2
"""Version of the layout of stores; 1 called its steps cells, and is read."""


class ManifestStep(BaseModel):
    """A step of the plan, by what its key is made of and what it means."""

    model_config = ConfigDict(frozen=True)

    key: str
    kind: str
    labels: Labels
    items: Items | None = None
    """How many items; None for kinds that are not counted in items, and in stores whose keys held the number."""


class StudyManifest(BaseModel):
    """A study as it was last run; written by the run, and derived from its specification on that machine."""

    model_config = ConfigDict(frozen=True)

    schema_version: int = 1
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
    looks: tuple[int, ...] = ()
    """Rounds after which speeds are looked at, where there may be more than one look."""
    early_stopping: EarlyStoppingPlan | None = None
    """How accuracy is looked at, in a study that stops where nothing is left to decide, and how far each candidate has come."""
    judge: JudgeChoice | None = None
    """The command line's, in place of the specification's."""
    steps: tuple[ManifestStep, ...] = Field(validation_alias=AliasChoices("steps", "cells"))
    seconds: dict[str, float] = {}
    """Wall-clock seconds of the last run, by part."""
    version: str

    def records(self, store: Store) -> list[Record]:
        """What analysis sees of each step."""
        return [store.record_of(step.kind, step.key, step.labels, step.items) for step in self.steps]

    def write(self, folder: Path) -> None:
        """Write the manifest into a store."""
        aside = folder / f".{FILE}"
        aside.write_text(self.model_dump_json(indent=1, exclude_none=True), encoding="utf-8")
        aside.replace(folder / FILE)


def read(folder: Path) -> StudyManifest:
    """The manifest of a store. Raises UserError where the folder is none."""
    path = folder / FILE
    try:
        manifest = StudyManifest.model_validate_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"store: {folder} holds no study ({FILE} cannot be read)", remedy="name a store, as studies/demo, or run the study"
        ) from error
    except ValueError as error:
        raise UserError(f"store: {path} is damaged", remedy="run the study again; finished steps are kept") from error
    if manifest.schema_version > SCHEMA:
        raise UserError(
            f"store: {path} has schema_version {manifest.schema_version}; this version of whichbits reads up to {SCHEMA}",
            remedy="update whichbits, or name another --store",
        )
    return manifest


def entries(steps: Iterable[Step]) -> tuple[ManifestStep, ...]:
    """A manifest's entries for a plan's steps; one that candidates share (a probe of their format) has an entry for each."""
    return tuple(ManifestStep(key=step.key, kind=step.kind, labels=step.labels, items=step.items) for step in steps)
