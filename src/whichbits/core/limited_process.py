"""Answer questions in a process of its own, which the kernel ends where one takes too long.

    python limited_process.py PARENT_PID MEMORY_BYTES FILE SYS_PATH

A program with the standard library alone. FILE defines `answer`, SYS_PATH is a JSON list of folders of packages that it needs.
Each line of JSON [seconds, arguments] is answered with {"said": ...}, what `answer(*arguments)` returns, or with
{"error": "..."} where it raises ValueError or needs more memory. Past `seconds` of CPU time SIGPROF ends the process.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import runpy
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG = 1


def limit_memory(more: int) -> None:
    """Let this process take so many bytes more than it has, and leave no core."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    most = pages * resource.getpagesize() + more
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def answered(answer: Callable[..., Any], seconds: float, arguments: list[Any]) -> str:
    """What is said to one question, as JSON."""
    try:
        signal.setitimer(signal.ITIMER_PROF, seconds)
        return json.dumps({"said": answer(*arguments)})
    except ValueError as error:
        return json.dumps({"error": str(error)})
    except MemoryError:
        return json.dumps({"error": "it takes more memory than it may"})
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def main(parent: int, memory: int, file: str, path: list[str]) -> None:
    """Answer until standard input ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        return
    sys.path += path
    answer = runpy.run_path(file)["answer"]
    limit_memory(memory)
    for line in sys.stdin:
        sys.stdout.write(answered(answer, *json.loads(line)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], json.loads(sys.argv[4]))
