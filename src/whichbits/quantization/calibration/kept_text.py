"""Text that a model has generated for its calibration, kept for all who ask for it."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

from whichbits.core.files import write_atomically
from whichbits.core.home import cache_directory, cache_errors

VERSION = 1
"""To be raised whenever the same model and seed give another text."""


@dataclass(frozen=True)
class KeptText:
    """A file with one sample a line, as a list of token ids, in the order of the samples.

    It is written whole or not at all; what a killed run had finished is there. It can be read as calibration data of source
    `tokens` too.
    """

    path: Path

    def read(self, samples: int) -> list[list[int]]:
        """The first samples, at most as many as are asked for."""
        if not self.path.is_file():
            return []
        return [json.loads(line) for line in self.path.read_text(encoding="utf-8").split("\n")[:-1][:samples]]

    def count(self) -> int:
        """How many samples are there."""
        return self.path.read_text(encoding="utf-8").count("\n") if self.path.is_file() else 0

    def write(self, samples: Sequence[Sequence[int]]) -> None:
        """Keep these samples, which begin with those that are there."""
        write_atomically(self.path, "".join(f"{json.dumps(ids)}\n" for ids in samples))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Let no other process generate the same text meanwhile: who asks for it waits, and finds it there."""
        with cache_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lock = self.path.with_suffix(".lock").open("w", encoding="utf-8")
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def kept_text(base_files: Mapping[str, str], length: int, seed: int) -> KeptText:
    """Where the text of this model (SHA-256 by file name), sample length and seed is kept, in the cache directory.

    Formats, efforts, studies and commands share it. Raises UserError where there is no cache directory.
    """
    libraries = {name: version(name) for name in ("torch", "transformers")}
    decides = {"version": VERSION, "base": dict(base_files), "length": length, "seed": seed, **libraries}
    identity = sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:16]
    return KeptText(cache_directory() / "calibration" / f"{identity}.jsonl")
