"""A candidate of a study as steps see it: its format, and where its checkpoint comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from whichbits.schema.step import Step

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
    def checkpoint(self) -> Mapping[str, str] | None:
        """Files of a ready checkpoint, which identify it in a key; None where a step makes it."""
        return None if self.made_by else self.files

    @property
    def copies(self) -> int | None:
        """`copy` where there are some."""
        return None if self.made_by else self.copy or None

    @property
    def ready(self) -> Path | None:
        """Where a ready checkpoint is; None where a step makes it."""
        return None if self.made_by else self.folder

    def reads(self, role: str = "checkpoint") -> dict[str, Step]:
        """The step that makes the checkpoint, by role."""
        return {role: self.made_by.step} if self.made_by else {}
