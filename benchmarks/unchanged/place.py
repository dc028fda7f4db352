"""Where a record is made."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Place:
    """A folder for what is written meanwhile, a finished store to judge too, and whether to do what takes hours."""

    work: Path
    store: Path | None
    embedded: bool
