"""Code of somebody else with a limit on its time and memory: run in a process of its own, which the kernel ends.

The limit counts CPU time, so that a busy machine changes no answer.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from whichbits.core import limited_process

MEMORY_BYTES = 1 << 30
"""What a question may take beyond what the process has when it begins."""


class OutOfTime(Exception):
    """A question took longer than it may."""


class Refused(ValueError):
    """`answer` raised ValueError, whose message this is, or took more memory than it may."""


class Limited:
    """The function `answer` of `file`, a Python file that imports from the standard library and the folders `path` alone.

    `environment` is all that its process has of one. Each process that asks has a process of its own that answers. One that was
    forked starts another, and one that has ended is replaced.
    """

    def __init__(self, file: Path, path: Sequence[str] = (), environment: Mapping[str, str] | None = None) -> None:
        self._file, self._path, self._lock = file, tuple(path), threading.Lock()
        self._environment = dict(environment or {})
        self._owner, self._process = 0, None

    _process: subprocess.Popen[str] | None

    @property
    def pid(self) -> int:
        """Id of the process that answers."""
        with self._lock:
            return self._running().pid

    def ask(self, seconds: float, *arguments: object) -> Any:
        """What `answer` returns of these arguments (JSON). Raises Refused, and OutOfTime past so many seconds of CPU time."""
        line = json.dumps([seconds, arguments])
        with self._lock:
            for _ in range(2):
                if answer := self._asked(line):
                    found = json.loads(answer)
                    if "error" in found:
                        raise Refused(found["error"])
                    return found["said"]
        raise RuntimeError(f"the process of {self._file.name} was killed twice")

    def _asked(self, line: str) -> str | None:
        """The answer to a line of JSON, None where somebody has killed the process."""
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(line + "\n")
            process.stdin.flush()
        said = process.stdout.readline()
        if not said.endswith("\n") and process.wait() == -signal.SIGPROF:
            raise OutOfTime
        return said if said.endswith("\n") else None

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None or self._owner != os.getpid() or self._process.poll() is not None:
            self._owner = os.getpid()
            arguments = [str(self._owner), str(MEMORY_BYTES), str(self._file), json.dumps(self._path)]
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", limited_process.__file__, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env=self._environment,
                text=True,
                encoding="utf-8",
            )
        return self._process
