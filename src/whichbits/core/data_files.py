"""Data files that add to a catalogue of the package: those of installed packages, and those that an environment variable names.

A package names one by an entry point whose object is the file's path. The variable holds paths, as PATH does. Steps of a study
run in processes of their own, which see both.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import entry_points
from importlib.resources.abc import Traversable
from pathlib import Path

from whichbits.core.errors import UserError
from whichbits.core.text import read_text


@dataclass(frozen=True)
class DataFile:
    """The text of a file; `name` is what errors call it."""

    name: str
    text: str


def data_files(group: str, variable: str) -> Iterator[DataFile]:
    """The files of an entry-point group, by name, then those of an environment variable, in its order.

    Raises UserError for an entry point that names no path, and for a file that cannot be read.
    """
    for point in sorted(entry_points(group=group), key=lambda point: point.name):
        path = point.load()
        if not isinstance(path, Traversable):
            raise UserError(
                f"what the entry point {point.name!r} of {group} names is no path",
                remedy='name a pathlib.Path, e.g. FILE = Path(__file__).with_name("mine.yaml")',
            )
        yield DataFile(str(path), read_text(path, str(path)))
    for name in os.environ.get(variable, "").split(os.pathsep):
        if name:
            yield DataFile(f"{variable}: {name}", read_text(Path(name), f"{variable}: {name}"))
