"""What the fork server of the load client imports, once, so that each worker starts in milliseconds.

Imported by nothing else: importing it ties this process, and every one forked from it, to the life of its parent, so a
client that is killed leaves nothing behind (Linux: parent-death signal).
"""

from __future__ import annotations

import ctypes
import os
import signal

from guidellm.logger import configure_logger
from guidellm.settings import LoggingSettings

import whichbits.serving.client  # noqa: F401

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)

# A console sink of loguru is a thread, and a thread does not survive a fork.
configure_logger(LoggingSettings(console_log_level=None))


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


_die_with_parent()
os.register_at_fork(after_in_child=_die_with_parent)
