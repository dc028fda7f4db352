"""Server-sent events out of bytes as they arrive."""

from __future__ import annotations

from whichbits.engines.errors import EngineError

MOST_BYTES = 2**24
"""Most bytes of an event."""


class EventStream:
    """Reads events: lines end in LF, CR LF or CR, comments and other fields are passed over, an empty event is a heartbeat."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[str] = []
        self._held = 0

    def feed(self, received: bytes) -> list[str]:
        """Data of the events that these bytes complete. Raises EngineError for an event that has no end in sight."""
        whole = self._rest + received
        self._held += len(received)
        if self._held > MOST_BYTES:
            raise EngineError(f"the stream holds an event of more than {MOST_BYTES // 2**20} MiB")
        # The last line may go on, and a CR at the end may be half of a CR LF.
        end = max(whole.rfind(b"\n"), whole.rfind(b"\r", 0, -1)) + 1
        self._rest = whole[end:]
        return self._events(whole[:end])

    def end(self) -> list[str]:
        """Data of an event that the end of the stream completes."""
        return self._events(self._rest + b"\n\n")

    def _events(self, lines: bytes) -> list[str]:
        found: list[str] = []
        for line in lines.splitlines():
            if not line:
                if any(self._data):
                    found.append("\n".join(self._data))
                self._data, self._held = [], 0
                continue
            name, _, value = line.partition(b":")
            if name in (b"data", b"error"):  # llama.cpp sends an error in a field of its own
                self._data.append(value.removeprefix(b" ").decode("utf-8", "replace"))
        return found
