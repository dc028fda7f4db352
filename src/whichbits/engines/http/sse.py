"""Server-sent events out of bytes as they arrive."""

from __future__ import annotations

from typing import NamedTuple

from whichbits.engines.errors import EngineError

MOST_BYTES = 2**24
"""Most bytes of an event."""


BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Event(NamedTuple):
    """What an event holds, and whether the server calls it an error."""

    data: str
    error: bool = False


class EventStream:
    """Reads events: lines end in LF, CR LF or CR, comments and other fields are passed over, an empty event is a heartbeat."""

    def __init__(self) -> None:
        self._rest = b""
        self._begun = False
        self._data: list[str] = []
        self._error = False
        self._held = 0

    def feed(self, received: bytes) -> list[Event]:
        """The events that these bytes complete. Raises EngineError for an event that has no end in sight."""
        whole = self._rest + received
        self._held += len(received)
        if self._held > MOST_BYTES:
            raise EngineError(f"the stream holds an event of more than {MOST_BYTES // 2**20} MiB")
        # The last line may go on, and a CR at the end may be half of a CR LF.
        end = max(whole.rfind(b"\n"), whole.rfind(b"\r", 0, -1)) + 1
        self._rest = whole[end:]
        return self._events(whole[:end])

    def end(self) -> list[Event]:
        """The event that the end of the stream completes."""
        return self._events(self._rest + b"\n\n")

    def _events(self, lines: bytes) -> list[Event]:
        found: list[Event] = []
        if lines and not self._begun:
            lines, self._begun = lines.removeprefix(BYTE_ORDER_MARK), True
        for line in lines.splitlines():
            if not line:
                if self._error or any(self._data):
                    found.append(Event("\n".join(self._data), self._error))
                self._data, self._error, self._held = [], False, 0
                continue
            name, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if name in (b"data", b"error"):  # llama.cpp sends an error in a field of its own
                self._data.append(value.decode("utf-8", "replace"))
            self._error = self._error or name == b"error" or (name, value) == (b"event", b"error")
        return found
