"""What readers of other tools' results share: what two runs must have in common, and errors for what cannot be read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whichbits.core.errors import UserError


@dataclass(frozen=True)
class Setting:
    """Something that two runs must share for their scores to be compared."""

    field: str
    value: str
    remedy: str


class Settings:
    """Collects what two runs must share; a value that a file does not state is one too."""

    def __init__(self) -> None:
        self._found: list[Setting] = []

    def add(self, field: str, value: object, remedy: str) -> None:
        """Add one; equal values are equal texts."""
        self._found.append(Setting(field, stated(value), remedy))

    def all(self) -> tuple[Setting, ...]:
        """What was added."""
        return tuple(self._found)


def stated(value: object) -> str:
    """A value of a JSON file as text that is the same for equal values."""
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)


def damaged(where: object, problem: str) -> UserError:
    """Results are not as their tool writes them."""
    return UserError(f"from: {where} {problem}", remedy="give results as the tool wrote them")


def ambiguous(path: Path, several: str) -> UserError:
    """A folder holds more than one run."""
    return UserError(f"from: {path} holds {several}", remedy="name one of them in place of the folder")


def the_only(found: Iterable[Path], path: Path, what: str) -> Path:
    """The one file of what was found. Raises UserError where there are several."""
    files = sorted(found)
    if len(files) > 1:
        raise ambiguous(path, f"{len(files)} {what}: {', '.join(file.name for file in files[:3])}")
    return files[0]


def field(value: Any, *names: str, where: str) -> Any:
    """A field of a field of ... a JSON object. Raises UserError where it is not there."""
    found = value
    for name in names:
        if not isinstance(found, Mapping) or name not in found:
            raise damaged(where, f"has no {'.'.join(names)}")
        found = found[name]
    return found
