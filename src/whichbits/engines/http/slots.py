"""Turns at a server for several processes: together they have no more requests under way than one of them may have."""

from __future__ import annotations

import fcntl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

PAUSE_S = 0.002
"""How often a process whose turn has not come looks for a free slot."""


class Slots:
    """`count` slots, each a file of `folder` that whoever has a request under way holds locked.

    A process that still has requests takes its slot again at once, so that another gets what it leaves free: the last requests
    of one are on their way together with the first of the next. The kernel frees the slots of a process that has died.
    """

    def __init__(self, folder: Path, count: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._free: list[IO[str]] = [(folder / str(number)).open("w", encoding="utf-8") for number in range(count)]
        self._looking = threading.Lock()
        self.waited_s: float | None = None
        """Seconds until the first slot was free; None before."""

    def close(self) -> None:
        """Close the files. No request is under way any more."""
        for file in self._free:
            file.close()

    @contextmanager
    def taken(self) -> Iterator[None]:
        """A slot for one request, as soon as one is free."""
        with self._looking:
            began = time.monotonic()
            while (file := self._locked()) is None:
                time.sleep(PAUSE_S)
            if self.waited_s is None:
                self.waited_s = time.monotonic() - began
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)
            self._free.append(file)

    def _locked(self) -> IO[str] | None:
        """A file of ours that nobody holds, locked; None where others hold them all."""
        for place, file in enumerate(self._free):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            return self._free.pop(place)
        return None
