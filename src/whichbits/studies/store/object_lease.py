"""Leases in an object store: an object that is created where there is none of its name is all that two agree by.

Each term of a lease has a number and an object `NUMBER.json`, which names its holder. While it lives the holder, and nobody
else, writes `NUMBER.alive` again and again, whose time is the object store's own. Who finds the last term over, or silent for
long, creates the next one. A holder that finds a later term than its own has lost the lease.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager

from whichbits.studies.store.lease import LONGEST_SILENCE_S, Lease, LeaseHeld, now, parsed, this_process
from whichbits.studies.store.objects import Objects

HOLDER, ALIVE, OVER = "json", "alive", "over"
DIGITS = 9


class ObjectLease(Lease):
    """A term that is held."""

    def __init__(self, objects: Objects, folder: str, number: int, since: float) -> None:
        self._objects = objects
        self._folder = folder
        self._number = number
        super().__init__(since)

    def renew(self) -> bool:
        """Say that its holder lives."""
        if _last(self._objects, self._folder) != self._number:
            return False
        self._objects.write(_name(self._folder, self._number, ALIVE), b"")
        return True

    def give_back(self) -> None:
        """End the term."""
        self._objects.write(_name(self._folder, self._number, OVER), b"")


@contextmanager
def leased(objects: Objects, folder: str) -> Iterator[Lease]:
    """Hold the lease of this folder of objects. Raises LeaseHeld, or OSError where the object store is not to be had."""
    own, since = this_process(), now()
    last = _last(objects, folder)
    if (other := _held(objects, folder, last)) is not None:
        raise other
    number = last + 1
    if not objects.create(_name(folder, number, HOLDER), own.model_dump_json().encode()):
        raise _of_term(objects, folder, number) or LeaseHeld(parsed(""), 0.0)
    if _last(objects, folder) != number:  # this term was another's, and is long over
        objects.delete([_name(folder, number, HOLDER)])
        raise held(objects, folder) or LeaseHeld(parsed(""), 0.0)
    objects.write(_name(folder, number, ALIVE), b"")
    objects.delete([name for name in objects.names(folder) if 0 < _number(name) < number])
    lease = ObjectLease(objects, folder, number, since)
    try:
        yield lease
    finally:
        with contextlib.suppress(OSError):
            lease.end()


def held(objects: Objects, folder: str) -> LeaseHeld | None:
    """Who holds the lease; None where nobody does, or it can be taken over."""
    return _held(objects, folder, _last(objects, folder))


def _held(objects: Objects, folder: str, number: int) -> LeaseHeld | None:
    if not number or objects.modified(_name(folder, number, OVER)) is not None:
        return None
    found = _of_term(objects, folder, number)
    if found is None or found.holder.ended or found.silent_s > LONGEST_SILENCE_S:
        return None
    return found


def _of_term(objects: Objects, folder: str, number: int) -> LeaseHeld | None:
    """The holder of a term, and for how long it has been silent by the object store's clock."""
    named = _name(folder, number, HOLDER)
    content = objects.read(named)
    if content is None:
        return None
    times = [time for name in (named, _name(folder, number, ALIVE)) if (time := objects.modified(name)) is not None]
    return LeaseHeld(parsed(content.decode(errors="replace")), objects.now() - max(times) if times else 0.0)


def _last(objects: Objects, folder: str) -> int:
    """Number of the last term; 0 where there was none."""
    return max(map(_number, objects.names(folder)), default=0)


def _number(name: str) -> int:
    """The number of the term that an object belongs to; 0 for one that is of no lease."""
    found = name.rsplit("/", 1)[-1].split(".")[0]
    return int(found) if found.isdecimal() and found.isascii() else 0


def _name(folder: str, number: int, kind: str) -> str:
    return f"{folder}/{number:0{DIGITS}}.{kind}"
