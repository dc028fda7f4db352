"""Processors of a node, shared between the pieces of work that Ray places there, and the turn of servers to start."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from whichbits.studies.execution.machine_locks import lock_file


@contextmanager
def claimed(count: int) -> Iterator[frozenset[int]]:
    """So many of the processors that this process may use, free ones first; fewer where there are fewer.

    Ray counts processors but binds nobody to them. A claim is a lock on a file of this machine, which the kernel lets go when
    its holder dies, however that happens.
    """
    usable = sorted(os.sched_getaffinity(0))
    with ExitStack() as stack:
        free: list[int] = []
        for core in usable:
            if len(free) == count:
                break
            file = stack.enter_context(lock_file(f"core-{core}").open("a", encoding="utf-8"))
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                free.append(core)
        taken = [core for core in usable if core not in free]
        yield frozenset([*free, *taken][:count])


@contextmanager
def turn_to_start() -> Iterator[None]:
    """One server of a machine starts at a time; the others wait here."""
    with lock_file("start").open("a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
