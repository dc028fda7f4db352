"""A plan: every step of a study with its key, in an order in which each comes after what it reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from whichbits.schema.step import Step
from whichbits.studies.specification.schema import Specification
from whichbits.studies.steps.planned import Planned
from whichbits.studies.store.store import Store


@dataclass(frozen=True)
class Served:
    """A candidate that is served: where its checkpoint is or will be, or the address that serves it already."""

    name: str
    folder: Path | None = None
    made_by: Step | None = None
    url: str | None = None

    def checkpoint(self, store: Store) -> Path:
        """Folder of the checkpoint."""
        if self.made_by is not None:
            return store.fetched(self.made_by) / "checkpoint"
        assert self.folder is not None, f"{self.name} has neither a folder nor a step that makes one"
        return self.folder


@dataclass(frozen=True)
class Plan:
    """All steps of a study."""

    specification: Specification
    base: str
    steps: tuple[Planned, ...]
    served: Mapping[str, Served]

    def missing(self, store: Store) -> tuple[Planned, ...]:
        """Steps without a result in the store, in order; one that several candidates share is there once."""
        each = {planned.step.key: planned for planned in reversed(self.steps)}
        return tuple(one for one in self.steps if each[one.step.key] is one and not store.done(one.step))
