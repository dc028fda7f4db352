"""Folders of the user's: the home, where there is one, and the cache. A container's user often has neither."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from whichbits.core.errors import UserError

VARIABLE = "WHICHBITS_CACHE"
REMEDY = f"set {VARIABLE} to a folder that you can write, on a disk with space"


def home() -> Path | None:
    """The user's home; None for a user who has none (no HOME, and no entry in passwd)."""
    try:
        return Path.home()
    except RuntimeError:
        return None


def expand(path: str) -> Path:
    """A path with `~` for the home. Raises UserError where that home is not known."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise UserError(f"{path}: the home folder of this user is not known", remedy="write the whole path") from error


def cache_directory(environment: Mapping[str, str] | None = None) -> Path:
    """Where converted models and file hashes are kept: $WHICHBITS_CACHE, $XDG_CACHE_HOME/whichbits or ~/.cache/whichbits.

    Raises UserError where none of them is known.
    """
    variables = os.environ if environment is None else environment
    if variables.get(VARIABLE):
        return expand(variables[VARIABLE])
    if variables.get("XDG_CACHE_HOME"):
        return expand(variables["XDG_CACHE_HOME"]) / "whichbits"
    folder = home()
    if folder is None:
        raise UserError("there is no cache directory: this user has no home folder", remedy=REMEDY)
    return folder / ".cache" / "whichbits"


@contextmanager
def cache_errors(path: Path) -> Iterator[None]:
    """Say of a cache that cannot be written, or whose disk is full, what the user can do."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{path} in the cache directory cannot be written ({error.strerror})", remedy=REMEDY) from error


def adopt_home() -> None:
    """Let libraries find a home in $WHICHBITS_CACHE where the user has none, for this process and those that it starts.

    They keep caches of their own below the home and fail without one, or make a folder called `~`. A home that exists and is
    used (it has `.cache`) or can be written stays.
    """
    own = home()
    lacking = own is None or not (os.access(own, os.W_OK) or (own / ".cache").is_dir())
    if lacking and os.environ.get(VARIABLE):
        os.environ["HOME"] = str(cache_directory())
    os.environ.setdefault("USER", str(os.getuid()))  # who is not in passwd has no name, and libraries ask for one
