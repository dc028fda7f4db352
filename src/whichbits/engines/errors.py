"""The errors of an engine that cannot start, stops, or answers wrongly."""

from __future__ import annotations


class EngineError(Exception):
    """An engine failed; the message is one line and names the cause, not the place in the engine's code."""


class ServerUnreachable(EngineError):
    """No connection, or it was lost or silent, whatever was tried."""


class EngineEnded(EngineError):
    """An engine's process ended by itself; `status` is its exit status (128 + n for signal n), `cause` its log's word on it."""

    def __init__(self, status: int, cause: str, log: str) -> None:
        ending = f"signal {status - 128}" if status > 128 else f"status {status}"
        super().__init__(f"the engine ended with {ending}: {cause} (log: {log})")
        self.status = status
        self.cause = cause
        self._log = log

    def __reduce__(self) -> tuple[object, ...]:
        return EngineEnded, (self.status, self.cause, self._log)
