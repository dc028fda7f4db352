"""The user's cache directory, and file hashes kept in it."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from whichbits.errors import UserError


def cache_directory(environment: dict[str, str] | None = None) -> Path:
    """Where converted models and file hashes are kept: $WHICHBITS_CACHE, $XDG_CACHE_HOME/whichbits or ~/.cache/whichbits."""
    variables = os.environ if environment is None else environment
    if variables.get("WHICHBITS_CACHE"):
        return Path(variables["WHICHBITS_CACHE"]).expanduser()
    if variables.get("XDG_CACHE_HOME"):
        return Path(variables["XDG_CACHE_HOME"]).expanduser() / "whichbits"
    return Path.home() / ".cache" / "whichbits"


def file_sha256(path: Path, cache: Path) -> str:
    """SHA-256 of a file in hexadecimal, computed once for each (path, size, modification time, inode).

    Links are followed first, so that a hub snapshot's links share the entry of the file they point to.
    """
    path = path.resolve()
    status = path.stat()
    stamp = {"path": str(path), "size": status.st_size, "mtime_ns": status.st_mtime_ns, "inode": status.st_ino}
    entry = cache / "hashes" / f"{hashlib.sha256(str(path).encode()).hexdigest()}.json"
    try:
        known = json.loads(entry.read_text())
    except (OSError, ValueError):
        known = {}
    if {key: known.get(key) for key in stamp} == stamp:
        return str(known["sha256"])
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    write_atomically(entry, json.dumps(stamp | {"sha256": digest}))
    return digest


def write_atomically(path: Path, text: str) -> None:
    """Write a text file into the cache so that a reader sees all of it or none."""
    with cache_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            file.write(text)
        Path(file.name).replace(path)


@contextmanager
def cache_errors(path: Path) -> Iterator[None]:
    """Say of a cache that cannot be written, or whose disk is full, what the user can do."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{path} in the cache directory cannot be written ({error.strerror})",
            remedy="set WHICHBITS_CACHE to a folder that you can write, on a disk with space",
        ) from error
