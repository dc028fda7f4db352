"""Leases: what one run at a time may do, on any file system that several machines share.

A lease is a file. Who holds it renews the file's time of change every few seconds; it can be taken over where its holder has
ended, or has not renewed it for long. Only `link` and `rename` decide between two that want it, which network file systems
keep whole, unlike their locks; and only the file system's own clock is read, whatever the machines' clocks say.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from whichbits.core.processes import machine_identity, start_time
from whichbits.schema.frozen import Stored

RENEWED_S = 5.0
"""How often a holder renews its lease."""

LONGEST_SILENCE_S = 60.0
"""A lease that was not renewed for so long can be taken over."""

PUT_BACK_S = 5.0
"""For so long a lease that was moved by mistake is offered its place again."""

MOVED = ".left"
"""What the name of a lease ends with that is moved."""


class Holder(Stored):
    """Who holds a lease: a process, by id and start time on one machine."""

    token: str
    host: str
    machine: str
    pid: int
    started: int

    @property
    def ended(self) -> bool:
        """Whether it was a process of this machine that is no more."""
        return self.machine == machine_identity() and start_time(self.pid) != self.started


class LeaseHeld(Exception):
    """Another run holds the lease."""

    def __init__(self, holder: Holder, silent_s: float) -> None:
        super().__init__(holder, silent_s)
        self.holder = holder
        self.silent_s = silent_s
        """Seconds since it was renewed."""


class Lease(ABC):
    """A lease that is held, and renewed from a thread of its own."""

    def __init__(self, since: float) -> None:
        """`since` is a moment (`now`) before it was taken: from then on others count."""
        self._renewed = since
        self._taken = False
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._keep_renewed, name="lease", daemon=True)
        self._thread.start()

    @abstractmethod
    def renew(self) -> bool:
        """Say that the holder lives; False where another holds the lease. Raises OSError where that cannot be said now."""

    @abstractmethod
    def give_back(self) -> None:
        """Let another have it."""

    @property
    def lost(self) -> bool:
        """Whether another holds it, or could by now, as it was not renewed in time."""
        return self._taken or now() - self._renewed > LONGEST_SILENCE_S - 2 * RENEWED_S

    def _keep_renewed(self) -> None:
        while not self._ending.wait(RENEWED_S):
            asked = now()
            # Where the store does not answer, or another is about to put the file back, the next turn tells.
            with contextlib.suppress(OSError):
                if not self.renew():
                    self._taken = True
                    return
                self._renewed = asked

    def end(self) -> None:
        """Give it back, and renew it no more."""
        self._ending.set()
        self._thread.join()
        self.give_back()


class FileLease(Lease):
    """A lease that is a file."""

    def __init__(self, path: Path, holder: Holder, since: float) -> None:
        self._path = path
        self._holder = holder
        super().__init__(since)

    def renew(self) -> bool:
        """Set the file's time of change."""
        if _read(self._path) != self._holder:
            return False
        os.utime(self._path)
        return True

    def give_back(self) -> None:
        """Remove the file."""
        with contextlib.suppress(FileNotFoundError):
            if _read(self._path) == self._holder:
                self._path.unlink()


def this_process() -> Holder:
    """This process, under a name of its own."""
    return Holder(
        token=uuid.uuid4().hex,
        host=socket.gethostname(),
        machine=machine_identity(),
        pid=os.getpid(),
        started=start_time(os.getpid()) or 0,
    )


@contextmanager
def leased(path: Path) -> Iterator[Lease]:
    """Hold the lease that is this file. Raises LeaseHeld, or OSError where the file cannot be written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    own, since = this_process(), now()
    draft = path.with_name(f".{path.name}.{own.token}")
    draft.write_text(own.model_dump_json(), encoding="utf-8")
    try:
        if not _linked(draft, path):
            _take_over(path, draft)
        _yield_to_moved(path, own)
    finally:
        draft.unlink(missing_ok=True)
    lease = FileLease(path, own, since)
    try:
        yield lease
    finally:
        lease.end()


def held(path: Path) -> LeaseHeld | None:
    """Who holds the lease; None where nobody does, or it can be taken over."""
    found = _found(path)
    if found is None or found.holder.ended:
        return None
    return found if found.silent_s <= LONGEST_SILENCE_S else None


def _take_over(path: Path, draft: Path) -> None:
    """Put the lease in `draft` in the place of one that is left over. Raises LeaseHeld."""
    before = _found(path)
    if before is not None:
        if held(path) is not None:
            raise before
        aside = draft.with_name(f"{draft.name}{MOVED}")
        with contextlib.suppress(FileNotFoundError):
            path.rename(aside)  # of several that see it left over, one moves it
            if _read(aside) != before.holder:  # another was faster, and this is its lease: it goes back
                _put_back(aside, path)
            aside.unlink()
    if not _linked(draft, path):
        raise _found(path) or LeaseHeld(parsed(""), 0.0)


def _put_back(aside: Path, path: Path) -> None:
    """Give a lease that lives its place again; who has taken that meanwhile finds it and gives way (`_yield_to_moved`)."""
    ends = now() + PUT_BACK_S
    while not _linked(aside, path) and now() < ends:
        time.sleep(PUT_BACK_S / 100)


def _yield_to_moved(path: Path, own: Holder) -> None:
    """Raise LeaseHeld where the lease that was just taken is another's, which a third has moved for a moment by mistake."""
    for aside in path.parent.glob(f".{path.name}.*{MOVED}"):
        found = _found(aside)
        if found is None:
            continue
        if found.holder != own and not found.holder.ended and found.silent_s <= LONGEST_SILENCE_S:
            if _read(path) == own:
                path.unlink()
            raise found
        aside.unlink(missing_ok=True)


def _linked(draft: Path, path: Path) -> bool:
    """Give a file a second name unless that is taken; a network file system may lose its answer, not its count of names."""
    with contextlib.suppress(FileExistsError):
        os.link(draft, path)
    return draft.stat().st_nlink == 2


def _found(path: Path) -> LeaseHeld | None:
    """The lease that is there, and for how long its file system has not seen it renewed."""
    probe = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        # Opened, as what a client remembers of a file's times can be old.
        with path.open(encoding="utf-8", errors="replace") as file:
            holder, renewed = parsed(file.read()), os.fstat(file.fileno()).st_mtime
    except FileNotFoundError:
        return None
    probe.touch()
    try:
        return LeaseHeld(holder, probe.stat().st_mtime - renewed)
    finally:
        probe.unlink()


def _read(path: Path) -> Holder:
    return parsed(path.read_text(encoding="utf-8", errors="replace"))


def parsed(text: str) -> Holder:
    """The holder that a lease names; nobody, where it is damaged."""
    try:
        return Holder.model_validate_json(text)
    except ValidationError:
        return Holder(token="", host="unknown", machine="", pid=0, started=0)


def now() -> float:
    """Seconds that also pass while this machine is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
