"""Results of reading a file, kept in the cache directory."""

from __future__ import annotations

import hashlib
import json
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from io import FileIO
from itertools import cycle
from pathlib import Path

from whichbits.core.home import cache_errors
from whichbits.models.contents import BLOCK, Contents, Damage

LOOKED = 2
"""Version of what is looked for in the numbers of a safetensors file; raising it looks again."""


@dataclass(frozen=True)
class FileFacts:
    """What reading every byte of a file has shown: its SHA-256 in hexadecimal, and what is wrong with its tensors."""

    sha256: str
    damage: Damage = field(default_factory=Damage)


def file_sha256(path: Path, cache: Path) -> str:
    """SHA-256 of a file in hexadecimal, as in `file_facts`."""
    return file_facts(path, cache).sha256


def file_facts(path: Path, cache: Path) -> FileFacts:
    """What reading a file once shows, kept in `cache` for each (path, size, modification time, inode).

    Links are followed first, so that a hub snapshot's links share the entry of the file they point to. Of a safetensors file
    all numbers are looked at on the way. Raises UserError where the cache cannot be written.
    """
    tensors = path.suffix == ".safetensors"
    path = path.resolve()
    status = path.stat()
    stamp = {"path": str(path), "size": status.st_size, "mtime_ns": status.st_mtime_ns, "inode": status.st_ino}
    entry = cache / "hashes" / f"{hashlib.sha256(str(path).encode()).hexdigest()}.json"
    try:
        known = json.loads(entry.read_text(encoding="utf-8"))
        if {key: known.get(key) for key in stamp} == stamp and (not tensors or known.get("looked") == LOOKED):
            not_finite = tuple((name, count) for name, count in known.get("not_finite", ()))
            zero, beyond, norms = (tuple(known.get(name, ())) for name in ("zero", "beyond_half", "zero_norms"))
            damage = Damage(not_finite, zero, beyond, norms)
            return FileFacts(str(known["sha256"]), damage)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass  # there is no entry, or one that is damaged: the file is read
    found = _read(path, tensors)
    own = {"looked": LOOKED, **asdict(found.damage)} if tensors else {}
    write_atomically(entry, json.dumps(stamp | {"sha256": found.sha256} | own))
    return found


def _read(path: Path, tensors: bool) -> FileFacts:
    """Read a file block by block; what hashes and what looks at the numbers run side by side."""
    if not tensors:
        with path.open("rb") as file:
            return FileFacts(hashlib.file_digest(file, "sha256").hexdigest())
    digest, contents = hashlib.sha256(), Contents(path)
    blocks = [bytearray(BLOCK) for _ in range(2)]
    position = 0
    with path.open("rb", buffering=0) as file, ThreadPoolExecutor(1) as hashing:
        hashed = hashing.submit(digest.update, b"")
        for block in cycle(blocks):
            count = _fill(file, block)
            if not count:
                break
            part = memoryview(block)[:count]
            hashed.result()
            hashed = hashing.submit(digest.update, part)
            contents.look(part, position)
            position += count
        hashed.result()
    return FileFacts(digest.hexdigest(), contents.damage())


def _fill(file: FileIO, block: bytearray) -> int:
    """Read until `block` is full or the file ends; returns the bytes read."""
    view, filled = memoryview(block), 0
    while filled < len(block) and (count := file.readinto(view[filled:])):
        filled += count
    return filled


def write_atomically(path: Path, text: str) -> None:
    """Write a text file into the cache so that a reader sees all of it or none."""
    with cache_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}.", delete=False, encoding="utf-8") as file:
            file.write(text)
        Path(file.name).replace(path)
