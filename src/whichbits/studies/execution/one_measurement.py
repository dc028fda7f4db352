"""One measurement of speeds at a time on a machine, whichever studies of a user ask for it: two would slow each other."""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from whichbits.studies.execution.executor import StepFailed

LOOKS_EVERY_S = 1.0


@contextmanager
def measuring(store: str, waits: Callable[[str], bool]) -> Iterator[None]:
    """Hold this machine for a measurement; while another does, `waits` is told its store, and says whether to go on waiting.

    It is a lock on a file, which the kernel lets go when its holder dies, however that happens. Raises StepFailed where nobody
    waits any more.
    """
    folder = Path(tempfile.gettempdir()) / f"whichbits-measuring-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    with (folder / "lock").open("a+", encoding="utf-8") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                file.seek(0)
                if not waits(file.read() or "another study"):
                    raise StepFailed("stopped before it began") from None
            time.sleep(LOOKS_EVERY_S)
        file.truncate(0)
        file.write(store)
        file.flush()
        yield
        file.truncate(0)
