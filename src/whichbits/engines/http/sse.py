"""Server-sent events out of bytes as they arrive."""

from __future__ import annotations


class EventStream:
    """Reads events: lines end in LF, CR LF or CR, comments and other fields are passed over, an empty event is a heartbeat."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[str] = []

    def feed(self, received: bytes) -> list[str]:
        """Data of the events that these bytes complete."""
        whole = self._rest + received
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
                self._data = []
                continue
            name, _, value = line.partition(b":")
            if name in (b"data", b"error"):  # llama.cpp sends an error in a field of its own
                self._data.append(value.removeprefix(b" ").decode("utf-8", "replace"))
        return found
