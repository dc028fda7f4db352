"""What readers of other tools' results share: what two runs must have in common, and errors for what cannot be read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

from whichbits.core.errors import UserError

ReaderT = TypeVar("ReaderT", bound="Reader")
ReadT = TypeVar("ReadT")

MOST = 10**9
"""Of what is counted in a result: tokens, requests."""


class Reader(Protocol):
    """What reads the results of one tool."""

    name: ClassVar[str]
    """The tool's."""
    reads: ClassVar[str]
    """The files that it reads, for people."""

    def recognizes(self, path: Path) -> bool:
        """Whether a file or folder is, or holds, results of the tool; it is there."""
        ...


def read_known(path: Path, readers: Sequence[ReaderT], read: Callable[[ReaderT], ReadT], what: str) -> ReadT:
    """What `read` makes of a file or folder with the first reader that recognizes it; `what` it holds, for people.

    Raises UserError where it is not there, where none recognizes it, and where it is not as its tool writes it.
    """
    if not path.exists():
        raise UserError(f"from: {path} is not there", remedy="give a file or folder of results")
    for reader in readers:
        try:
            if reader.recognizes(path):
                return read(reader)
        except (
            AttributeError,
            LookupError,
            TypeError,
            ValueError,
            ArithmeticError,
        ) as error:  # what is taken for a table may be none
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            raise damaged(path, f"is not as {reader.name} writes it ({reason})") from error
    raise UserError(
        f"from: {path} holds no {what} that are known here",
        remedy=f"give {'; '.join(f'{reader.reads} ({reader.name})' for reader in readers)}",
    )


def number(value: Any, what: str) -> float:
    """A finite number that is not negative; raises ValueError that names `what` for anything else, `true` too."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < inf:
        raise ValueError(f"{what} is {value!r:.40}, not a number from 0")
    return float(value)


def count(value: Any, what: str) -> int:
    """The same of whole numbers, up to `MOST`."""
    if not number(value, what).is_integer() or value > MOST:
        raise ValueError(f"{what} is {value!r:.40}, not a whole number up to {MOST:,}")
    return int(value)


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
