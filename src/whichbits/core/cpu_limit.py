"""A limit on CPU time, within this process, for code that others wrote."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class CpuLimit(Exception):
    """The code within `cpu_limit` took longer than it may."""


@contextmanager
def cpu_limit(seconds: float) -> Iterator[None]:
    """Raise CpuLimit in what runs within once it has taken that much CPU time of this process.

    Python code, `re` and what else looks for signals is interrupted; the time of what does not is known when it comes back.
    Raised also where the code has swallowed it. Signals arrive in the main thread alone: in another there is no limit.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    passed = False

    def stop(_number: int, _frame: FrameType | None) -> None:
        nonlocal passed
        passed = True
        raise CpuLimit(f"took more than {seconds:g} s")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
    if passed:
        raise CpuLimit(f"took more than {seconds:g} s")
