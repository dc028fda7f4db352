"""Match regular expressions in a process of its own, which the kernel ends where one takes too long.

    python regex_worker.py PARENT_PID MEMORY_BYTES

A program with nothing but the standard library. It answers each line of JSON {method, pattern, texts, seconds} with
{"found": [...]}, one entry a text, or with {"error": "..."}. Past `seconds` of CPU time for one line SIGPROF ends it.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import resource
import signal
import sys
from typing import Any

PR_SET_PDEATHSIG = 1


def answer(method: str, pattern: str, texts: list[str], seconds: float) -> dict[str, Any]:
    """What `re` says of each text: whether it is found (`search`, `match`, `fullmatch`), or the finds (`findall`)."""
    found: list[Any] = []
    try:
        signal.setitimer(signal.ITIMER_PROF, seconds)
        function = getattr(re.compile(pattern), method)
        for text in texts:
            said = function(text)
            found.append(said if method == "findall" else said is not None)
    except (re.error, OverflowError, RecursionError, MemoryError) as error:
        return {"error": str(error) or type(error).__name__}
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return {"found": found}


def main(parent: int, memory: int) -> None:
    """Answer until standard input ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        return
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for line in sys.stdin:
        sys.stdout.write(json.dumps(answer(**json.loads(line))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
