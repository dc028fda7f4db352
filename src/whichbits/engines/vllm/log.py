"""Find in an engine's log the one line that says why it failed."""

from __future__ import annotations

import re
from pathlib import Path

_PREFIX = re.compile(
    r"^(?:\([\w.-]+ pid=\d+\)\s*)?"  # (EngineCore pid=123)
    r"(?:(?:DEBUG|INFO|WARNING|ERROR|CRITICAL)\s+\d\d-\d\d \d\d:\d\d:\d\d \[[^\]]+\]\s?)?"  # ERROR 11-22 22:00:00 [core.py:94]
)
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_EXCEPTION = re.compile(r"^(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Interrupt|Exit)(?:: (?P<message>.*))?$")
_USAGE = re.compile(r"^[\w. -]+: error: (?P<message>.+)$")

# Exceptions that only report that another process, whose own error stands earlier in the log, has failed.
_CONSEQUENCES = (
    "Engine core initialization failed",
    "Engine core proc",
    "EngineDeadError",
    "EngineCore encountered an issue",
    "WorkerProc initialization failed",
    "Executor failed",
    "SystemExit",
    "KeyboardInterrupt",
    "CancelledError",
)


def plain_lines(text: str) -> list[str]:
    """Lines of a log without colours, process names, levels, times and places."""
    return [_PREFIX.sub("", _COLOUR.sub("", line)).rstrip() for line in text.splitlines()]


def root_cause(text: str, *, limit: int = 400) -> str:
    """The line of a log that names the cause of a failure, at most `limit` characters.

    That is `exception`. Without any it is the last line that is not empty; of an empty log it says so.
    """
    lines = plain_lines(text)
    last = next((line.strip() for line in reversed(lines) if line.strip()), "the engine's log is empty")
    return exception(text, limit=limit) or next(filter(_reports, lines), last)[:limit]


def exception(text: str, *, limit: int = 400) -> str | None:
    """The first exception of a log that is not the mere consequence of another process's failure, in one line.

    For chained exceptions (pydantic's, for one) the text may stand in the lines that follow, of which the first is added.
    """
    lines = plain_lines(text)
    for number, line in enumerate(lines):
        usage = _USAGE.match(line)
        if usage:
            return usage["message"][:limit]
        found = _EXCEPTION.match(line)
        if found is None or _reports(line):
            continue
        following = next((later.strip() for later in lines[number + 1 : number + 4] if later.strip()), "")
        needs_more = "validation error" in line or not found["message"]
        cause = " ".join(f"{line} {following if needs_more else ''}".split())
        return cause.removesuffix("Reasons:").rstrip()[:limit]
    return None


def _reports(line: str) -> bool:
    """Whether a line is an exception that only reports that another process has failed."""
    return _EXCEPTION.match(line) is not None and any(mark in line for mark in _CONSEQUENCES)


def kernels(text: str) -> list[str]:
    """Names of the kernels that vLLM says it has chosen for linear layers, without `LinearKernel` at their end."""
    chosen = re.findall(r"\b(?:Using|Selected) (\w+Kernel) for ", text)
    return list(dict.fromkeys(re.sub(r"(Linear)?Kernel$", "", name) for name in chosen))


def tail(path: Path, *, bytes_: int = 1_000_000) -> str:
    """Last part of a log file, as text."""
    with path.open("rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - bytes_))
        return file.read().decode(errors="replace")
