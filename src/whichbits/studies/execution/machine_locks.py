"""Files of this machine that processes of a user lock against each other, whichever studies they are of.

The kernel lets a lock go when its holder dies, however that happens.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

LOOKS_EVERY_S = 1.0


def lock_file(name: str) -> Path:
    """The file to lock, in a folder that is this user's alone."""
    folder = Path(tempfile.gettempdir()) / f"whichbits-locks-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder / name


@contextmanager
def measuring(store: str, waits: Callable[[str], None]) -> Iterator[None]:
    """Hold this machine for a measurement of speeds: two at once would slow each other.

    While another measures, `waits` is told which store it is for.
    """
    with lock_file("measuring").open("a+", encoding="utf-8") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                file.seek(0)
                waits(file.read() or "another study")
            time.sleep(LOOKS_EVERY_S)
        file.truncate(0)
        file.write(store)
        file.flush()
        yield
        file.truncate(0)
