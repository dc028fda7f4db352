"""The library that a program may import beside the standard one: numpy, which programs use and which some tests need."""

import importlib.util
import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

NAME = "numpy"


def library() -> list[str]:
    """Folders of numpy on this machine: its package first, then its shared libraries; none where it is not installed."""
    found = importlib.util.find_spec(NAME)
    if found is None or not found.submodule_search_locations:
        return []
    package = os.path.realpath(found.submodule_search_locations[0])
    return [folder for folder in (package, f"{package}.libs") if Path(folder).is_dir()]


class Finder:
    """Finds numpy in its folder, and nothing beside it."""

    def __init__(self, package: str) -> None:
        self.package = package

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """As the import system asks for it."""
        if name != NAME:
            return None
        return importlib.util.spec_from_file_location(
            NAME, f"{self.package}/__init__.py", submodule_search_locations=[self.package]
        )


def allow(folders: Sequence[str]) -> None:
    """Let programs of this process import numpy from the folders that `library` named."""
    if folders:
        sys.meta_path.append(Finder(folders[0]))


def plain_number(value: object) -> object:
    """A number of numpy's as the number of Python's that it stands for; any other value as it is."""
    numpy = sys.modules.get(NAME)
    if numpy is not None and isinstance(value, numpy.generic):
        return value.item()
    return value
