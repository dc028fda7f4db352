"""A candidate of a study as steps see it: its format, and where its checkpoint comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from whichbits.schema.step import Json, Step

if TYPE_CHECKING:
    from whichbits.formats.format import Format
    from whichbits.studies.steps.planned import Planned


@dataclass(frozen=True)
class Subject:
    """A candidate with its checkpoint: made by a step, or in a folder already."""

    name: str
    format: Format
    served: bool
    emulated: bool
    files: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None
    made_by: Planned | None = None
    copy: int = 0
    """How many columns before it have the same files: each is evaluated and measured for itself."""
    notes: tuple[str, ...] = ()
    """What every report on it must say."""

    @property
    def inputs(self) -> dict[str, Json]:
        """What identifies a ready checkpoint in a key."""
        copy = {"copy": self.copy} if self.copy else {}
        return {} if self.made_by else {"checkpoint": dict(self.files), **copy}

    def reads(self, role: str = "checkpoint") -> dict[str, Step]:
        """The step that makes the checkpoint, by role."""
        return {role: self.made_by.step} if self.made_by else {}

    def local(self, role: str = "checkpoint") -> dict[str, Json]:
        """Where a ready checkpoint is."""
        return {} if self.made_by else {role: str(self.folder)}
